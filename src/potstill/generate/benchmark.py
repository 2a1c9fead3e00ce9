"""Benchmark: structures known from experiment or from published calculations, as installed packages ship them.

Holds four sets, each with its reference and licence in ``generator_metadata``:

- ``aflow``: prototype crystals that pymatgen ships (Mehl et al., Comput. Mater. Sci. 136, S1 (2017)), each the crystal after
  which a structure type is named,
- ``g2``: closed-shell molecules that ASE ships (Curtiss, Raghavachari, Redfern and Pople, J. Chem. Phys. 106, 1063 (1997)),
- ``dcdft``: crystals of the elements that ASE ships (Lejaeghere et al., Crit. Rev. Solid State Mater. Sci. 39, 1 (2014)),
- ``s22``: dimers held by weak forces that ASE ships (Jurečka, Šponer, Černý and Hobza, Phys. Chem. Chem. Phys. 8, 1985
  (2006)).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from potstill.core.types import Refused, Structure
from potstill.generate.prototypes import aflow_crystals
from potstill.generate.source import Kind, SourceOptions, propose_each

ASE_LICENCE = "LGPL-2.1-or-later (ASE)"
EXCITED = ("CH2_s1A1d",)  # singlet methylene; its ground state is a triplet


Set = Literal["aflow", "g2", "dcdft", "s22"]
LICENCES = {"aflow": "MIT (pymatgen)", "g2": ASE_LICENCE, "dcdft": ASE_LICENCE, "s22": ASE_LICENCE}


class Benchmark(SourceOptions):
    """Known crystals (AFLOW prototypes in pymatgen, elements in ASE) and molecules (G2 and S22 in ASE)."""

    kind: ClassVar[Kind] = "benchmark"
    packages: ClassVar[tuple[tuple[str, str], ...]] = (("pymatgen", "crystals"),)

    source: Literal["benchmark"] = "benchmark"
    sets: Annotated[
        tuple[Set, ...],
        Field(
            min_length=1,
            description="sets of known structures, in order; aflow: prototypes; g2: molecules; dcdft: elements; s22: dimers",
        ),
    ] = ("aflow", "g2")
    snapshots: Annotated[
        int, Field(ge=0, description="number of thermal snapshots of each structure, added to the published geometry")
    ] = 2
    thermal_angstrom: Annotated[
        float, Field(gt=0, description="standard deviation of each coordinate in a thermal snapshot, in Å")
    ] = 0.06

    def available(self) -> int | None:
        return len(_known(self.sets)) * (1 + self.snapshots)

    def propose(self, indices: Sequence[int], seed: int, parents: Sequence[Structure]) -> list[Structure | Refused]:
        known = _known(self.sets)

        def make(index: int, rng: np.random.Generator) -> Structure | Refused:
            published = known[index % len(known)]
            refusal = self.refuse(published, published.generator_metadata["title"])
            return refusal or (published if index < len(known) else self._snapshot(published, rng))

        return propose_each(self.name, indices, seed, make)

    def _snapshot(self, published: Structure, rng: np.random.Generator) -> Structure:
        """Displace atoms by independent Gaussians, of the size that diffraction finds at room temperature."""
        displaced = published.positions + rng.normal(0.0, self.thermal_angstrom, size=published.positions.shape)
        metadata = {**published.generator_metadata, "thermal_angstrom": self.thermal_angstrom}
        return published.with_(positions=displaced, generator_metadata=metadata)


def _known(sets: tuple[Set, ...]) -> list[Structure]:
    return [structure for name in dict.fromkeys(sets) for structure in _set(name)]


@lru_cache(maxsize=len(LICENCES))
def _set(name: Set) -> list[Structure]:
    makers: dict[Set, Callable[[], tuple[Structure, ...]]] = {
        "aflow": aflow_crystals,
        "g2": closed_shell_molecules,
        "dcdft": _elements,
        "s22": _dimers,
    }
    return [s.with_(generator_metadata={**s.generator_metadata, "licence": LICENCES[name]}) for s in makers[name]()]


@lru_cache(maxsize=1)
def closed_shell_molecules() -> tuple[Structure, ...]:
    """Return the closed-shell molecules of G2 in their ground state."""
    from ase.collections import g2

    molecules = []
    for name in g2.names:
        atoms = g2[name]
        if np.any(atoms.get_initial_magnetic_moments() != 0) or len(atoms) < 2 or name in EXCITED:
            continue  # a teacher without spin cannot label radicals, atoms and excited singlets
        molecules.append(Structure.from_ase(atoms, generator_metadata={"title": name, "reference": "ASE g2"}))
    return tuple(molecules)


def _elements() -> tuple[Structure, ...]:
    from ase.collections import dcdft

    return tuple(
        Structure.from_ase(dcdft[name], generator_metadata={"title": name, "reference": "ASE dcdft"}) for name in dcdft.names
    )


def _dimers() -> tuple[Structure, ...]:
    from ase.collections import s22

    return tuple(
        Structure.from_ase(s22[name], generator_metadata={"title": name, "reference": "ASE s22"}) for name in s22.names
    )
