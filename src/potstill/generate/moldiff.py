"""MolDiff: drug-like molecules from the diffusion model of Peng, Guan, Liu and Ma, ICML 2023, in an environment of its own.

Reads the molecules of MolDiff's SDF folder, which have heavy atoms only, and adds every hydrogen that their valences need.
Fragments, radicals, charged molecules and impossible valences are refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import yaml
from pydantic import Field, model_validator

from potstill.core.section import CountRange, ExistingPath
from potstill.core.types import Refused, Structure
from potstill.dataset.inputs.chemistry import hydrogens_missing, read_mol_block, structure_of, unwanted, with_hydrogens
from potstill.environments import ENVIRONMENTS, Installed, installed, weights_fault
from potstill.execute.program import run_program
from potstill.generate.program import LAUNCHERS, Chunk, Made, ProgramSource

CONFIG = "sample.yml"


class MolDiff(ProgramSource):
    """Drug-like molecules from MolDiff (C, N, O, F, P, S, Cl), with explicit hydrogens."""

    packages: ClassVar[tuple[tuple[str, str], ...]] = (("rdkit", "molecules"),)

    source: Literal["moldiff"] = "moldiff"
    max_atoms: Annotated[int, Field(gt=0, description="largest number of atoms in a molecule, hydrogens included")] = 100
    heavy_atoms: Annotated[
        CountRange | None,
        Field(
            description="range of the number of heavy atoms; where null, normally distributed about 25 with a "
            "deviation of 5.5"
        ),
    ] = None
    model: Annotated[
        Literal["MolDiff", "MolDiff_simple"],
        Field(description="name of a released model that 'potstill setup moldiff' has installed"),
    ] = "MolDiff"
    model_path: Annotated[
        ExistingPath | None, Field(description="weights file of another model; the released one where null")
    ] = None
    bond_guidance: Annotated[
        float,
        Field(ge=0, description="scale of the guidance by the bond predictor; 0 for none, as MolDiff_simple always has"),
    ] = 1e-4

    @model_validator(mode="after")
    def _sizes(self) -> MolDiff:
        if self.heavy_atoms is not None and not 1 <= self.heavy_atoms[0] <= self.heavy_atoms[1]:
            raise ValueError(f"heavy_atoms: found {list(self.heavy_atoms)}, expected a range such as [10, 30]")
        return self

    @classmethod
    def with_weights_of(cls, place: Installed) -> MolDiff:
        whole, predictor = ((place.weights / name).is_file() for name in ("MolDiff.pt", "bondpred.pt"))
        if whole and predictor:
            return cls(count=1)
        return cls(count=1, bond_guidance=0.0, model="MolDiff" if whole else "MolDiff_simple")

    def _weights(self) -> dict[str, Path]:
        folder = installed("moldiff").weights
        files = {"model": self.model_path or folder / f"{self.model}.pt"}
        if self.bond_guidance and self.model == "MolDiff":
            files["bond_predictor"] = folder / "bondpred.pt"
        return files

    def _weights_missing(self, place: Installed) -> str | None:
        for what, path in self._weights().items():
            fault = weights_fault(path)
            if fault:
                without = "\n  or set  bond_guidance: 0" if what == "bond_predictor" else ""
                place_of = ENVIRONMENTS["moldiff"].weights_from
                return f"{fault}\n  install it with:  potstill setup moldiff --weights PATH of {place_of}{without}"
        return None

    def sample_config(self, chunk: Chunk, outdir: Path) -> dict[str, object]:
        """Return the content of MolDiff's own config file."""
        weights = self._weights()
        # MolDiff adds the code points of the output folder's name to the seed, and that name differs each time
        seed = chunk.seed - sum(map(ord, str(outdir)))
        sample: dict[str, object] = {"seed": seed, "batch_size": chunk.count, "num_mols": chunk.count, "save_traj_prob": 0.0}
        config: dict[str, object] = {"model": {"checkpoint": str(weights["model"])}, "sample": sample}
        if "bond_predictor" in weights:
            config["bond_predictor"] = str(weights["bond_predictor"])
            sample["guidance"] = ["uncertainty", self.bond_guidance]
        return config

    def _run(self, chunk: Chunk) -> Made:
        config, outdir = chunk.folder / CONFIG, chunk.folder / "out"
        config.write_text(yaml.safe_dump(self.sample_config(chunk, outdir)), encoding="utf-8")
        order = {"repository": str(self.checkout), "device": self.device, "heavy_atoms": self.heavy_atoms}
        arguments = [f"--config={config}", f"--outdir={outdir}", f"--batch_size={chunk.count}"]
        ended = run_program(
            [self.interpreter, LAUNCHERS / "moldiff.py", json.dumps(order), *arguments],
            chunk.log,
            timeout_seconds=chunk.timeout_seconds,
            folder=self.checkout,
        )
        model, weights = (self.model_path.name, None) if self.model_path else (self.model, f"{self.model}.pt")
        facts = {"model": model, "batch_seed": chunk.seed, **self.provenance(weights)}
        return Made(read_molecules(outdir, facts), ended)


def read_molecules(outdir: Path, metadata: dict[str, object]) -> list[Structure | Refused]:
    """Return the molecules of every SDF folder, in the order of their numbers; trajectories beside them are not read."""
    files = [f for folder in sorted(outdir.glob("*_SDF")) for f in folder.glob("[0-9]*.sdf") if f.stem.isdigit()]
    return [read_molecule(file, metadata) for file in sorted(files, key=lambda f: int(f.stem))]


def read_molecule(file: Path, metadata: dict[str, object]) -> Structure | Refused:
    """Return one molecule with its hydrogens, or its refusal.

    Heavy atoms keep their positions. ``generator_metadata`` names the force field that placed the hydrogens.
    """
    from rdkit import Chem

    molecule = read_mol_block(file.read_text(encoding="utf-8", errors="replace"), file.name)
    if isinstance(molecule, Refused):
        return molecule
    smiles = Chem.MolToSmiles(Chem.RemoveHs(molecule))
    refusal = unwanted(molecule, smiles)
    if refusal is not None:
        return refusal
    whole, placed_by = with_hydrogens(molecule)
    refusal = hydrogens_missing(whole, smiles)
    if refusal is not None:
        return refusal
    return structure_of(whole, {**metadata, "smiles": smiles, "hydrogens": placed_by})
