"""Prototypes: known structure types decorated with other elements.

Takes the AFLOW prototypes that pymatgen ships (Mehl et al., Comput. Mater. Sci. 136, S1 (2017)) and exchanges their elements
for others of the same oxidation state and similar electronegativity. Each kind of atom is exchanged for one other, so
symmetry and charge balance stay. The cell is scaled by the radii of nearest neighbors.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from itertools import product
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from potstill.core.elements import atomic_numbers_of, covalent_radii, symbols_of
from potstill.core.neighbors import structure_neighbors
from potstill.core.registry import borrow
from potstill.core.section import Range
from potstill.core.types import Array, Refused, Structure
from potstill.generate.elements import allowed
from potstill.generate.source import SourceOptions, propose_each

ATTEMPTS = 30
MAX_RADIUS_RATIO = 1.5
MAX_ELECTRONEGATIVITY_DIFFERENCE = 0.6  # Pauling units
NEAREST = 1.15  # nearest neighbors are within this times an atom's shortest distance
SEARCH_ANGSTROM = 6.0


class Prototypes(SourceOptions):
    """AFLOW prototype crystals (in pymatgen) with their elements exchanged for similar ones."""

    packages: ClassVar[tuple[tuple[str, str], ...]] = (("pymatgen", "crystals"),)

    source: Literal["prototypes"] = "prototypes"
    max_electronegativity_difference: Annotated[
        float,
        Field(
            gt=0,
            description="largest difference of electronegativity between an element and its substitute, in Pauling units",
        ),
    ] = MAX_ELECTRONEGATIVITY_DIFFERENCE
    volume_factor: Annotated[
        Range, Field(description="range of the cell volume relative to that scaled by covalent radii")
    ] = (0.95, 1.2)

    def propose(self, indices: Sequence[int], seed: int, parents: Sequence[Structure]) -> list[Structure | Refused]:
        known = prototypes(self.max_atoms)
        order = np.random.default_rng(seed).permutation(len(known))

        def make(index: int, rng: np.random.Generator) -> Structure | Refused:
            if not known:
                return Refused("too_many_atoms", f"no prototype has at most {self.max_atoms} atoms")
            for attempt in range(ATTEMPTS):
                prototype = known[order[index % len(known)] if attempt == 0 else int(rng.integers(len(known)))]
                decorated = decorate(prototype, self.elements, self.max_electronegativity_difference, rng)
                if decorated is not None:
                    edge = float(rng.uniform(*self.volume_factor)) ** (1 / 3)
                    return decorated.with_(positions=decorated.positions * edge, cell=decorated.cell * edge)
            return Refused("no_substitute", f"none of {ATTEMPTS} prototypes can be made of {', '.join(self.elements)}")

        return propose_each(self.name, indices, seed, make)


@dataclass(frozen=True, slots=True, eq=False)
class Prototype:
    """A known crystal.

    Parameters
    ----------
    crystal
        Crystal as published; its metadata name it.
    charges
        Oxidation state of each element, from a set that balances; empty where there is none.
    nearest
        (2, e) pairs of nearest neighbors.
    """

    crystal: Structure
    charges: dict[str, int]
    nearest: Array


@dataclass(frozen=True, slots=True)
class _Element:
    metal: bool
    electronegativity: float
    common: frozenset[int]
    states: frozenset[int]
    radius: float


@lru_cache(maxsize=1)
def aflow_crystals() -> tuple[Structure, ...]:
    """Return the prototype crystals that pymatgen ships, as published."""
    borrow("pymatgen", "crystals", "a source of known crystals")
    from ase.data import atomic_numbers
    from pymatgen.core import Composition

    # read as data: importing their package, or decoding them as objects, takes a hundred times longer
    path = resources.files("pymatgen.analysis").joinpath("prototypes").joinpath("aflow_prototypes.json.gz")
    crystals = []
    for entry in json.loads(gzip.decompress(path.read_bytes())):
        crystal, tags = entry["snl"], entry["tags"]
        symbols = [site["species"][0]["element"] for site in crystal["sites"]]
        cell = np.array(crystal["lattice"]["matrix"])
        title = f"{Composition(Counter(symbols)).reduced_formula} ({tags['mineral'] or tags['aflow']})"
        crystals.append(
            Structure(
                np.array([atomic_numbers[symbol] for symbol in symbols]),
                np.dot([site["abc"] for site in crystal["sites"]], cell),
                cell,
                np.ones(3, bool),
                generator_metadata={"title": title, "reference": "AFLOW prototype", "aflow": tags["aflow"]},
            )
        )
    return tuple(crystals)


@lru_cache(maxsize=8)
def prototypes(max_atoms: int) -> tuple[Prototype, ...]:
    """Return the prototypes with at most ``max_atoms`` atoms."""
    return tuple(_analyse(crystal) for crystal in aflow_crystals() if len(crystal) <= max_atoms)


def decorate(
    prototype: Prototype, elements: Sequence[str], max_electronegativity_difference: float, rng: np.random.Generator
) -> Structure | None:
    """Return the prototype with at least one element exchanged; None where the elements do not allow it."""
    old = symbols_of(prototype.crystal.atomic_numbers)
    taken: dict[str, str] = {}
    for symbol in rng.permutation(old).tolist():
        charge = prototype.charges.get(symbol)
        options = _substitutes(symbol, charge, tuple(elements), max_electronegativity_difference)
        free = [s for s in options if s not in taken.values()]
        if not free:
            return None
        taken[symbol] = free[int(rng.integers(len(free)))]
    if all(old == new for old, new in taken.items()):
        return None
    numbers = np.array(prototype.crystal.atomic_numbers, dtype=np.int64)
    substituted = numbers.copy()
    for z, new in zip(atomic_numbers_of(taken), atomic_numbers_of(taken.values()), strict=True):
        substituted[numbers == z] = new
    scale = _bond_lengths(prototype, substituted) / _bond_lengths(prototype, numbers)
    published = prototype.crystal.generator_metadata
    return Structure(
        substituted,
        prototype.crystal.positions * scale,
        prototype.crystal.cell * scale,
        prototype.crystal.pbc,
        generator_metadata={
            "prototype": published["title"],
            "aflow": published["aflow"],
            "substitution": {symbol: taken[symbol] for symbol in old},
        },
    )


@lru_cache(maxsize=4096)
def _substitutes(
    symbol: str, charge: int | None, elements: tuple[str, ...], max_electronegativity_difference: float
) -> tuple[str, ...]:
    """Return the elements that may replace one: metal for metal, of the same charge, of similar character and size."""
    table = _elements()
    old = table.get(symbol)
    if old is None:
        return ()
    candidates = [(name, table[name]) for name in allowed(elements) if name in table]
    return tuple(
        name
        for name, new in candidates
        if new.metal == old.metal
        and abs(new.electronegativity - old.electronegativity) <= max_electronegativity_difference
        and max(new.radius, old.radius) <= MAX_RADIUS_RATIO * min(new.radius, old.radius)
        and _may_replace(old, new, charge)
    )


def _may_replace(old: _Element, new: _Element, charge: int | None) -> bool:
    if charge is not None:
        return charge in (new.common if charge in old.common else new.states)
    return old.metal or bool(old.common & new.common)


@lru_cache(maxsize=1)
def _elements() -> dict[str, _Element]:
    """Return the elements with an electronegativity, as pymatgen states them."""
    from pymatgen.core import Element

    radii = covalent_radii()
    table = {}
    for name in allowed(()):
        element = Element(name)
        table[name] = _Element(
            metal=bool(element.is_metal or element.is_metalloid),
            electronegativity=float(element.X),
            common=frozenset(int(q) for q in element.common_oxidation_states),
            states=frozenset(int(q) for q in element.oxidation_states),
            radius=float(radii[element.Z]),
        )
    return {name: element for name, element in table.items() if np.isfinite(element.electronegativity)}


def _analyse(crystal: Structure) -> Prototype:
    neighbors = structure_neighbors(crystal, SEARCH_ANGSTROM)
    shortest = np.full(len(crystal), np.inf)
    np.minimum.at(shortest, neighbors.edge_index[0], neighbors.distance)
    nearest = neighbors.distance <= NEAREST * shortest[neighbors.edge_index[0]]
    return Prototype(crystal, _balance(crystal), neighbors.edge_index[:, nearest])


def _balance(crystal: Structure) -> dict[str, int]:
    """Return one oxidation state per element, of sum zero, preferring common ones; empty where none balance."""
    symbols = symbols_of(crystal.atomic_numbers)
    counts = [int((crystal.atomic_numbers == z).sum()) for z in atomic_numbers_of(symbols)]
    table = _elements()
    if len(symbols) == 1 or any(s not in table for s in symbols):
        return {}
    for states in ([sorted(table[s].common) for s in symbols], [sorted(table[s].states) for s in symbols]):
        for charges in product(*states):
            if 0 not in charges and sum(n * q for n, q in zip(counts, charges, strict=True)) == 0:
                return dict(zip(symbols, charges, strict=True))
    return {}


def _bond_lengths(prototype: Prototype, numbers: Array) -> float:
    """Return the mean over pairs of nearest neighbors of the sum of their covalent radii, in Å."""
    return float(covalent_radii()[numbers][prototype.nearest].sum(axis=0).mean())
