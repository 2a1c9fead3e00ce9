"""Liquids: molecules packed at random in a periodic box.

Takes SMILES and makes cubic boxes of one to three kinds of molecules, packed without overlap by Packmol (Martínez, Andrade,
Birgin and Martínez, J. Comput. Chem. 30, 2157 (2009)) at a density drawn from a range.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from potstill.core.registry import borrow
from potstill.core.section import Range
from potstill.core.types import Array, Refused, Structure
from potstill.core.units import G_PER_CUBIC_CM_PER_AMU_PER_CUBIC_ANGSTROM
from potstill.dataset.inputs.chemistry import structure_of
from potstill.generate.conformer import embed
from potstill.generate.source import SourceOptions, propose_each

SOLVENTS = (
    *("O", "OO", "N", "NN", "C", "CCC", "CCCCCC", "C1CCCCC1", "C=C", "c1ccccc1", "Cc1ccccc1", "c1ccncc1", "O=C=O", "S=C=S"),
    *(
        "CO",
        "CCO",
        "CC(C)O",
        "OCCO",
        "OCC(O)CO",
        "CCOCC",
        "C1CCOC1",
        "C1COCCO1",
        "C1CO1",
        "C=O",
        "CC(C)=O",
        "C(=O)O",
        "CC(=O)O",
    ),
    *("CCOC(C)=O", "COC(=O)OC", "CC#N", "CCN", "C(=O)N", "CC(N)=O", "CN(C)C=O", "CS(C)=O", "S", "CCS", "COP(=O)(OC)OC"),
    *("ClCCl", "ClC(Cl)Cl", "ClC(Cl)(Cl)Cl", "Clc1ccccc1", "Fc1ccccc1", "FC(F)(F)CO", "BrCCBr", "CI", "COB(OC)OC"),
    *("C[Si](C)(C)C", "CO[Si](OC)(OC)OC"),
)
SMALLEST_BOX = 40  # smallest number of atoms in a box
CONTACT_ANGSTROM = 2.0  # Packmol's shortest distance between atoms of two molecules
PACKMOL_LOOPS = 60
PACKMOL_SECONDS = 60.0
VOLUME_GRID_ANGSTROM = 0.5  # volumes are within 3 % of those of finer grids


class Liquids(SourceOptions):
    """Mixtures of molecules in a periodic box (RDKit conformers, packed by Packmol)."""

    packages: ClassVar[tuple[tuple[str, str], ...]] = (("rdkit", "molecules"), ("packmol", "molecules"))

    source: Literal["liquids"] = "liquids"
    max_atoms: Annotated[int, Field(gt=0, description="largest box")] = 96
    smiles: Annotated[
        tuple[str, ...], Field(description="SMILES of the molecules to choose from; common solvents and gases where empty")
    ] = ()
    max_components: Annotated[int, Field(ge=1, description="largest number of different kinds of molecules in a box")] = 3
    density_g_per_cubic_cm: Annotated[
        Range | None, Field(description="range of the density in g/cm^3; where null, packing_fraction decides")
    ] = None
    packing_fraction: Annotated[
        Range,
        Field(description="range of the share of the box that the molecules' van der Waals volumes fill"),
    ] = (0.4, 0.58)
    max_mmff_steps: Annotated[
        int,
        Field(
            ge=0,
            description="largest number of MMFF94 minimiser steps for each conformer; the number is drawn from 0 up to this",
        ),
    ] = 20

    def propose(self, indices: Sequence[int], seed: int, parents: Sequence[Structure]) -> list[Structure | Refused]:
        borrow("rdkit", "molecules", "the source 'liquids'")
        borrow("packmol", "molecules", "the source 'liquids'")
        return propose_each(self.name, indices, seed, lambda _, rng: self._liquid(rng))

    def _liquid(self, rng: np.random.Generator) -> Structure | Refused:
        molecules = self._draw_molecules(rng)
        if isinstance(molecules, Refused):
            return molecules
        counts = self._draw_counts([len(m) for m in molecules], rng)
        masses = [float(m.to_ase().get_masses().sum()) for m in molecules]
        mass = float(np.dot(counts, masses)) * G_PER_CUBIC_CM_PER_AMU_PER_CUBIC_ANGSTROM
        if self.density_g_per_cubic_cm is not None:
            volume = mass / float(rng.uniform(*self.density_g_per_cubic_cm))
        else:
            own = [m.generator_metadata["vdw_volume"] for m in molecules]
            volume = float(np.dot(counts, own)) / float(rng.uniform(*self.packing_fraction))
        edge = volume ** (1 / 3)
        positions = pack(molecules, counts, edge, int(rng.integers(1, 2**31 - 1)))
        if isinstance(positions, Refused):
            return positions
        numbers = np.concatenate([np.tile(m.atomic_numbers, n) for m, n in zip(molecules, counts, strict=True)])
        metadata = {
            "molecules": {m.generator_metadata["smiles"]: n for m, n in zip(molecules, counts, strict=True)},
            "density_g_per_cubic_cm": mass / volume,
        }
        return Structure(numbers, positions, edge * np.eye(3), np.ones(3, bool), generator_metadata=metadata)

    def _draw_molecules(self, rng: np.random.Generator) -> list[Structure] | Refused:
        """Draw conformers of one or more of the allowed molecules that fit twice into ``max_atoms``."""
        from rdkit.Chem import AllChem

        half = self.model_copy(update={"max_atoms": self.max_atoms // 2})
        wanted = int(rng.integers(1, self.max_components + 1))
        found: list[Structure] = []
        refusal = Refused("no_molecule", "there is no molecule to choose from")
        for smiles in rng.permutation(self.smiles or SOLVENTS):
            embedded = embed(str(smiles), half, rng, self.max_mmff_steps)
            if isinstance(embedded, Refused):
                refusal = embedded
                continue
            molecule, metadata = embedded
            if sum(map(len, found)) + molecule.GetNumAtoms() <= self.max_atoms:
                volume = AllChem.ComputeMolVolume(molecule, gridSpacing=VOLUME_GRID_ANGSTROM)
                found.append(structure_of(molecule, {**metadata, "vdw_volume": float(volume)}))
            if len(found) == wanted:
                break
        return found or refusal

    def _draw_counts(self, sizes: Sequence[int], rng: np.random.Generator) -> list[int]:
        """Draw the number of each molecule: one at least, then more at random up to a random number of atoms."""
        limit = int(rng.integers(min(SMALLEST_BOX, self.max_atoms), self.max_atoms + 1))
        counts = [1] * len(sizes)
        weights = rng.dirichlet(np.ones(len(sizes)))
        while True:
            k = int(rng.choice(len(sizes), p=weights))
            total = int(np.dot(counts, sizes)) + sizes[k]
            if total > self.max_atoms or (total > limit and sum(counts) > 1):
                return counts
            counts[k] += 1


def pack(molecules: Sequence[Structure], counts: Sequence[int], edge_angstrom: float, seed: int) -> Array | Refused:
    """Return positions of ``counts`` copies of each molecule in a periodic cube, or the reason for which Packmol found none.

    Returns
    -------
    Array
        Positions (n, 3) in Å: all copies of the first molecule, then of the second, ...
    """
    from packmol.cli import get_binary_path

    with tempfile.TemporaryDirectory(prefix="potstill-packmol-") as name:
        folder = Path(name)
        box = f"{edge_angstrom:.6f} {edge_angstrom:.6f} {edge_angstrom:.6f}"
        lines = [
            f"tolerance {CONTACT_ANGSTROM}",
            f"seed {seed}",
            f"nloop {PACKMOL_LOOPS}",
            f"pbc {box}",
            "filetype xyz",
            "output packed.xyz",
        ]
        for k, (molecule, n) in enumerate(zip(molecules, counts, strict=True)):
            molecule.to_ase().write(folder / f"{k}.xyz", format="xyz")
            lines += [f"structure {k}.xyz", f"  number {n}", "end structure"]
        (folder / "packmol.inp").write_text("\n".join(lines) + "\n")
        try:
            with (folder / "packmol.inp").open() as script:
                done = subprocess.run(
                    [str(get_binary_path())],
                    stdin=script,
                    cwd=folder,
                    capture_output=True,
                    check=False,
                    timeout=PACKMOL_SECONDS,
                )
        except subprocess.TimeoutExpired:
            return Refused("packing_failed", f"Packmol took more than {PACKMOL_SECONDS:g} s")
        if done.returncode != 0 or not (folder / "packed.xyz").is_file():
            return Refused("packing_failed", f"Packmol found no packing in a box of {edge_angstrom:.2f} Å")
        atoms = (folder / "packed.xyz").read_text().splitlines()[2:]
        return np.array([[float(x) for x in line.split()[1:4]] for line in atoms if line.strip()])
