"""Torsions: molecules turned about one of their rotatable bonds, step by step.

Takes RDKit's NCI molecules (or a SMILES file of the user's). Makes for each a scan of one bond at evenly spaced dihedral
angles. All steps of a scan have the same conformer elsewhere, and one family: the molecule's composition.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from potstill.core.registry import borrow
from potstill.core.section import ExistingPath
from potstill.core.types import Refused, Structure
from potstill.dataset.inputs.chemistry import structure_of
from potstill.generate.conformer import embed, smiles_lines
from potstill.generate.source import SourceOptions, propose_each, random_generator

# not in a ring, no multiple bond, both ends with another neighbor; triple bonds have no dihedral angle
ROTATABLE = "[!$(*#*)&!D1]-&!@[!$(*#*)&!D1]"


class Torsions(SourceOptions):
    """Scans of rotatable bonds of the molecules of a SMILES list (RDKit)."""

    packages: ClassVar[tuple[tuple[str, str], ...]] = (("rdkit", "molecules"),)

    source: Literal["torsions"] = "torsions"
    smiles_file: Annotated[
        ExistingPath | None, Field(description="file with one SMILES per line; RDKit's 5,000 NCI molecules where null")
    ] = None
    steps: Annotated[
        int, Field(ge=2, le=360, description="number of dihedral angles in a scan, evenly spaced over a full turn")
    ] = 12
    max_mmff_steps: Annotated[
        int,
        Field(
            ge=0,
            description="largest number of MMFF94 minimiser steps before the scan; the number is drawn from 0 up to this",
        ),
    ] = 50

    def propose(self, indices: Sequence[int], seed: int, parents: Sequence[Structure]) -> list[Structure | Refused]:
        borrow("rdkit", "molecules", "the source 'torsions'")
        lines = smiles_lines(self.smiles_file)
        order = np.random.default_rng(seed).permutation(len(lines))
        scans: dict[int, tuple[Any, dict[str, Any]] | Refused] = {}

        def make(index: int, _rng: np.random.Generator) -> Structure | Refused:
            scan, step = divmod(index, self.steps)
            if scan not in scans:
                scans[scan] = self._start(lines[order[scan % len(lines)]], random_generator(seed, self.name, scan))
            start = scans[scan]
            return start if isinstance(start, Refused) else self._turned(*start, step)

        return propose_each(self.name, indices, seed, make)

    def _start(self, smiles: str, rng: np.random.Generator) -> tuple[Any, dict[str, Any]] | Refused:
        """Return a conformer, and the four atoms of the dihedral angle to turn with its value in the first step."""
        from rdkit import Chem

        embedded = embed(smiles, self, rng, self.max_mmff_steps)
        if isinstance(embedded, Refused):
            return embedded
        molecule, metadata = embedded
        bonds = Chem.RemoveHs(molecule).GetSubstructMatches(Chem.MolFromSmarts(ROTATABLE))
        if not bonds:
            return Refused("no_rotatable_bond", f"{smiles} has no rotatable bond")
        j, k = bonds[int(rng.integers(len(bonds)))]
        ends = [
            next(a.GetIdx() for a in molecule.GetAtomWithIdx(centre).GetNeighbors() if a.GetIdx() != other)
            for centre, other in ((j, k), (k, j))
        ]
        offset = float(rng.uniform(0.0, 360.0 / self.steps))
        return molecule, {**metadata, "dihedral_atoms": [ends[0], j, k, ends[1]], "offset": offset}

    def _turned(self, molecule: Any, facts: dict[str, Any], step: int) -> Structure:
        from rdkit.Chem import Mol, rdMolTransforms

        metadata = {key: value for key, value in facts.items() if key != "offset"}
        angle = facts["offset"] + 360.0 * step / self.steps
        turned = Mol(molecule)
        rdMolTransforms.SetDihedralDeg(turned.GetConformer(), *metadata["dihedral_atoms"], angle)
        return structure_of(turned, {**metadata, "dihedral_degrees": angle, "step": step})
