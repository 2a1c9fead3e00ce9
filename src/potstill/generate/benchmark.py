"""Benchmark: structures known from experiment, as installed packages ship them.

Leaves the AFLOW prototype crystals that pymatgen ships (Mehl et al., Comput. Mater. Sci. 136, S1 (2017); each the crystal
after which a structure type is named) and the closed-shell molecules of the G2 set that ASE ships (Curtiss, Raghavachari,
Redfern and Pople, J. Chem. Phys. 106, 1063 (1997)).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from potstill.generate.source import SourceOptions, propose_each
from potstill.registry import borrow
from potstill.types import Refused, Structure

EXCITED = ("CH2_s1A1d",)  # singlet methylene; its ground state is a triplet


class Benchmark(SourceOptions):
    """Known crystals (AFLOW prototypes in pymatgen) and molecules (G2 in ASE)."""

    packages: ClassVar[tuple[tuple[str, str], ...]] = (("pymatgen", "crystals"),)

    source: Literal["benchmark"] = "benchmark"
    snapshots: Annotated[
        int, Field(ge=0, description="thermal snapshots of each structure beside the published geometry")
    ] = 2
    thermal_angstrom: Annotated[
        float, Field(gt=0, description="standard deviation of each coordinate in a thermal snapshot")
    ] = 0.06

    def available(self) -> int | None:
        return len(_known()) * (1 + self.snapshots)

    def propose(self, indices: Sequence[int], seed: int, parents: Sequence[Structure]) -> list[Structure | Refused]:
        known = _known()

        def make(index: int, rng: np.random.Generator) -> Structure | Refused:
            published = known[index % len(known)]
            refusal = self.refuse(published, published.generator_metadata["title"])
            return refusal or (published if index < len(known) else self._snapshot(published, rng))

        return propose_each(self.name, indices, seed, make)

    def _snapshot(self, published: Structure, rng: np.random.Generator) -> Structure:
        """Independent Gaussian displacements, of the size that diffraction finds at room temperature."""
        displaced = published.positions + rng.normal(0.0, self.thermal_angstrom, size=published.positions.shape)
        metadata = {**published.generator_metadata, "thermal_angstrom": self.thermal_angstrom}
        return published.with_(positions=displaced, generator_metadata=metadata)


@lru_cache(maxsize=1)
def _known() -> tuple[Structure, ...]:
    return (*_prototypes(), *_g2())


def _prototypes() -> list[Structure]:
    borrow("pymatgen", "crystals", "the source 'benchmark'")
    from monty.serialization import loadfn

    path = resources.files("pymatgen.analysis.prototypes").joinpath("aflow_prototypes.json.gz")
    crystals = []
    for entry in loadfn(str(path)):
        crystal, tags = entry["snl"].structure, entry["tags"]
        title = f"{crystal.composition.reduced_formula} ({tags['mineral'] or tags['aflow']})"
        metadata = {"title": title, "reference": "AFLOW prototype", "aflow": tags["aflow"]}
        crystals.append(Structure.from_ase(crystal.to_ase_atoms(), generator_metadata=metadata))
    return crystals


def _g2() -> list[Structure]:
    from ase.collections import g2

    molecules = []
    for name in g2.names:
        atoms = g2[name]
        if np.any(atoms.get_initial_magnetic_moments() != 0) or len(atoms) < 2 or name in EXCITED:
            continue  # radicals, atoms, excited singlets: a teacher without spin has no answer
        molecules.append(Structure.from_ase(atoms, generator_metadata={"title": name, "reference": "ASE g2"}))
    return molecules
