"""Mutants: real molecules whose SELFIES were changed at random; each is new and has valid valences.

Takes RDKit's NCI molecules (or a SMILES file of the user's) and makes conformers of their mutants. SELFIES: Krenn, Häse,
Nigam, Friederich and Aspuru-Guzik, Mach. Learn.: Sci. Technol. 1, 045024 (2020); mutation as in STONED: Nigam, Pollice,
Krenn, dos Passos Gomes and Aspuru-Guzik, Chem. Sci. 12, 7079 (2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from potstill.core.registry import borrow
from potstill.core.section import ExistingPath
from potstill.core.types import Refused, Structure
from potstill.dataset.inputs.chemistry import unwanted
from potstill.generate.conformer import conformer, smiles_lines
from potstill.generate.source import SourceOptions, propose_each

ATTEMPTS = 20
ORGANIC = frozenset({"H", "B", "C", "N", "O", "F", "P", "S", "Cl", "Br", "I"})


class Mutants(SourceOptions):
    """Conformers of SELFIES mutants of the molecules of a SMILES list."""

    packages: ClassVar[tuple[tuple[str, str], ...]] = (("rdkit", "molecules"), ("selfies", "molecules"))

    source: Literal["mutants"] = "mutants"
    smiles_file: Annotated[
        ExistingPath | None,
        Field(description="file with one SMILES per line to mutate; RDKit's 5,000 NCI molecules where null"),
    ] = None
    max_mutations: Annotated[
        int, Field(ge=1, description="largest number of SELFIES symbols changed, added or removed in a mutant")
    ] = 3
    max_mmff_steps: Annotated[
        int,
        Field(
            ge=0,
            description="largest number of MMFF94 minimiser steps after embedding; the number is drawn from 0 up to this",
        ),
    ] = 20

    def propose(self, indices: Sequence[int], seed: int, parents: Sequence[Structure]) -> list[Structure | Refused]:
        borrow("rdkit", "molecules", "the source 'mutants'")
        borrow("selfies", "molecules", "the source 'mutants'")
        lines = smiles_lines(self.smiles_file)
        order = np.random.default_rng(seed).permutation(len(lines))
        return propose_each(self.name, indices, seed, lambda index, rng: self._mutant(lines[order[index % len(lines)]], rng))

    def _mutant(self, ancestor: str, rng: np.random.Generator) -> Structure | Refused:
        from rdkit import Chem, RDLogger

        RDLogger.DisableLog("rdApp.*")
        parsed = Chem.MolFromSmiles(ancestor)
        if parsed is None:
            return Refused("smiles_invalid", f"RDKit cannot parse {ancestor}")
        start = Chem.MolToSmiles(parsed)
        refusal: Refused | None = None
        for _ in range(ATTEMPTS):
            mutations = int(rng.integers(1, self.max_mutations + 1))
            smiles = mutate(start, mutations, self.elements, rng)
            refusal = self._refuse_mutant(smiles, start)
            if refusal is None:
                made = conformer(smiles, self, rng, self.max_mmff_steps)
                if isinstance(made, Refused):
                    return made
                metadata = {**made.generator_metadata, "ancestor": start, "mutations": mutations}
                return made.with_(generator_metadata=metadata)
        return refusal or Refused("no_mutant", f"{ATTEMPTS} mutations of {start} changed nothing")

    def _refuse_mutant(self, smiles: str, ancestor: str) -> Refused | None:
        from rdkit import Chem

        molecule = Chem.MolFromSmiles(smiles) if smiles else None
        if molecule is None:
            return Refused("smiles_invalid", f"a mutant of {ancestor} cannot be parsed: {smiles or 'nothing is left'}")
        if Chem.MolToSmiles(molecule) == ancestor:
            return Refused("no_mutant", f"{ATTEMPTS} mutations of {ancestor} changed nothing")
        atoms = Chem.AddHs(molecule).GetAtoms()
        return unwanted(molecule, smiles) or self.refuse_composition({a.GetSymbol() for a in atoms}, len(atoms), smiles)


def mutate(smiles: str, mutations: int, elements: Sequence[str], rng: np.random.Generator) -> str:
    """Change, add or remove some symbols of a molecule's SELFIES; return an empty text where nothing is left.

    New symbols come from the robust alphabet of the package selfies: neutral atoms of the allowed elements.
    """
    import selfies

    try:
        symbols = list(selfies.split_selfies(selfies.encoder(smiles)))
    except selfies.EncoderError:
        return ""
    alphabet = _alphabet(tuple(elements))
    for _ in range(mutations):
        at = int(rng.integers(len(symbols) + 1)) if symbols else 0
        symbol = alphabet[int(rng.integers(len(alphabet)))]
        change = int(rng.integers(3))
        if change == 0 or not symbols:
            symbols.insert(at, symbol)
        elif change == 1:
            symbols[at % len(symbols)] = symbol
        else:
            del symbols[at % len(symbols)]
    return str(selfies.decoder("".join(symbols)))


@lru_cache(maxsize=8)
def _alphabet(elements: tuple[str, ...]) -> tuple[str, ...]:
    """Return the symbols of neutral atoms, branches and rings, in alphabetical order."""
    import selfies

    symbols = [s for s in sorted(selfies.get_semantic_robust_alphabet()) if "+" not in s and "-" not in s]
    structural = [s for s in symbols if "Branch" in s or "Ring" in s]
    atoms = [
        s for s in symbols if s not in structural and s.strip("[]=#/\\") in (set(elements) or ORGANIC) & ORGANIC - {"H"}
    ]
    return tuple(atoms + structural)
