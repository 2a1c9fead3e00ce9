"""Molecules: conformers of real organic molecules with explicit hydrogens.

Enters RDKit's list of NCI molecules (or a SMILES file of the user's), leaves conformers embedded by ETKDGv3 (Riniker and
Landrum, J. Chem. Inf. Model. 55, 2562 (2015); Wang et al., ibid. 60, 2044 (2020)) and moved some steps towards the MMFF94
minimum, so that they lie near it but not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from potstill.errors import InputError
from potstill.generate.chemistry import structure_of, unwanted
from potstill.generate.source import SourceOptions, propose_each
from potstill.registry import borrow
from potstill.types import Refused, Structure

MAX_EMBEDDING_ATTEMPTS = 50


class Molecules(SourceOptions):
    """Conformers (RDKit ETKDGv3, explicit hydrogens) of molecules from a SMILES list."""

    packages: ClassVar[tuple[tuple[str, str], ...]] = (("rdkit", "molecules"),)

    source: Literal["molecules"] = "molecules"
    smiles_file: Annotated[
        Path | None, Field(description="one SMILES per line; RDKit's 5,000 NCI molecules where empty")
    ] = None
    max_mmff_steps: Annotated[
        int, Field(ge=0, description="MMFF94 minimiser steps after embedding, drawn from 0 up to this")
    ] = 20

    def propose(self, indices: Sequence[int], seed: int, parents: Sequence[Structure]) -> list[Structure | Refused]:
        lines = _smiles_lines(self.smiles_file)
        order = np.random.default_rng(seed).permutation(len(lines))

        def make(index: int, rng: np.random.Generator) -> Structure | Refused:
            return self._conformer(lines[order[index % len(lines)]], rng)

        return propose_each(self.name, indices, seed, make)

    def _conformer(self, smiles: str, rng: np.random.Generator) -> Structure | Refused:
        borrow("rdkit", "molecules", "the source 'molecules'")
        from rdkit import Chem, RDLogger
        from rdkit.Chem import AllChem

        RDLogger.DisableLog("rdApp.*")
        molecule = Chem.MolFromSmiles(smiles)
        if molecule is None:
            return Refused("smiles_invalid", f"RDKit cannot parse {smiles}")
        refusal = unwanted(molecule, smiles)
        if refusal is not None:
            return refusal
        molecule = Chem.AddHs(molecule)
        refusal = self.refuse_composition({a.GetSymbol() for a in molecule.GetAtoms()}, molecule.GetNumAtoms(), smiles)
        if refusal is not None:
            return refusal
        options = AllChem.ETKDGv3()
        seed, steps = int(rng.integers(2**31 - 1)), int(rng.integers(self.max_mmff_steps + 1))
        options.randomSeed = seed
        options.maxIterations = MAX_EMBEDDING_ATTEMPTS
        if AllChem.EmbedMolecule(molecule, options) != 0:
            return Refused("embedding_failed", f"ETKDGv3 found no conformer of {smiles}")
        if steps and AllChem.MMFFHasAllMoleculeParams(molecule):
            AllChem.MMFFOptimizeMolecule(molecule, maxIters=steps)
        metadata = {"smiles": Chem.MolToSmiles(Chem.RemoveHs(molecule)), "seed": seed, "mmff_steps": steps}
        return structure_of(molecule, metadata)


@lru_cache(maxsize=4)
def _smiles_lines(path: Path | None) -> tuple[str, ...]:
    """First words of the lines of a SMILES file."""
    if path is None:
        borrow("rdkit", "molecules", "the source 'molecules'")
        from rdkit import RDConfig

        path = Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi"
    if not path.is_file():
        raise InputError(f"no SMILES file at {path}")
    lines = tuple(line.split()[0] for line in path.read_text().splitlines() if line.strip())
    if not lines:
        raise InputError(f"the SMILES file {path} is empty")
    return lines
