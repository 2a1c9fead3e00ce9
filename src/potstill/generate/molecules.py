"""Molecules: conformers of real organic molecules with explicit hydrogens.

Takes RDKit's list of NCI molecules (or a SMILES file of the user's) and makes conformers by
:mod:`~potstill.generate.conformer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from potstill.core.registry import borrow
from potstill.core.section import ExistingPath
from potstill.core.types import Refused, Structure
from potstill.generate.conformer import conformer, smiles_lines
from potstill.generate.source import SourceOptions, propose_each


class Molecules(SourceOptions):
    """Conformers (RDKit ETKDGv3, explicit hydrogens) of molecules from a SMILES list."""

    packages: ClassVar[tuple[tuple[str, str], ...]] = (("rdkit", "molecules"),)

    source: Literal["molecules"] = "molecules"
    smiles_file: Annotated[
        ExistingPath | None, Field(description="file with one SMILES per line; RDKit's 5,000 NCI molecules where null")
    ] = None
    max_mmff_steps: Annotated[
        int,
        Field(
            ge=0,
            description="largest number of MMFF94 minimiser steps after embedding; the number is drawn from 0 up to this",
        ),
    ] = 20

    def propose(self, indices: Sequence[int], seed: int, parents: Sequence[Structure]) -> list[Structure | Refused]:
        borrow("rdkit", "molecules", "the source 'molecules'")
        lines = smiles_lines(self.smiles_file)
        order = np.random.default_rng(seed).permutation(len(lines))

        def make(index: int, rng: np.random.Generator) -> Structure | Refused:
            return conformer(lines[order[index % len(lines)]], self, rng, self.max_mmff_steps)

        return propose_each(self.name, indices, seed, make)
