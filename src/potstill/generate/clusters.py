"""Clusters: nanoparticles of one or two metals, not periodic.

Makes icosahedra, decahedra and (truncated) octahedra, whole or without some atoms of their surface, and compact random
clusters. Two metals share the sites at random, as core and shell, or as two halves. A cluster's family is its reduced
composition. Particles of one composition and any size are therefore in one part of the split.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from potstill.core.elements import atomic_numbers_of
from potstill.core.types import Array, Refused, Structure, hill_formula
from potstill.generate.alloys import draw_metals, vegard_edge
from potstill.generate.crystals import push_apart
from potstill.generate.source import SourceOptions, propose_each

Shape = Literal["icosahedron", "decahedron", "octahedron", "random"]
FCC_EDGE = 4 ** (1 / 3)  # edge of a lattice whose atoms have unit volume
SMALLEST = 3
BOND = 1.2  # neighbors are closer than this times the spacing of closest packing
SPACING = 2 ** (1 / 6)  # distance of neighbors in closest packing with unit volume per atom
RANDOM_DISTANCE = 0.9  # over the sum of covalent radii, in random clusters


class Clusters(SourceOptions):
    """Metal nanoparticles: icosahedra, decahedra, octahedra and random compact clusters."""

    source: Literal["clusters"] = "clusters"
    max_atoms: Annotated[int, Field(ge=SMALLEST, description="largest cluster")] = 80
    shapes: Annotated[
        tuple[Shape, ...], Field(min_length=1, description="shapes of clusters, drawn with equal probability")
    ] = ("icosahedron", "decahedron", "octahedron", "random")
    bimetallic_fraction: Annotated[float, Field(ge=0, le=1, description="share of clusters with two metals, 0 to 1")] = 0.5
    max_missing: Annotated[
        int, Field(ge=0, description="largest number of surface atoms that are left out of a cluster")
    ] = 4
    max_size_mismatch: Annotated[
        float,
        Field(gt=0, lt=1, description="largest relative difference of the atomic diameters of two metals in one cluster"),
    ] = 0.2
    max_strain: Annotated[
        float,
        Field(
            ge=0,
            lt=0.3,
            description="largest relative deviation of the atomic spacing from that of the solids, drawn uniformly",
        ),
    ] = 0.06

    def propose(self, indices: Sequence[int], seed: int, parents: Sequence[Structure]) -> list[Structure | Refused]:
        return propose_each(self.name, indices, seed, lambda _, rng: self._cluster(rng))

    def _cluster(self, rng: np.random.Generator) -> Structure | Refused:
        shape = self.shapes[int(rng.integers(len(self.shapes)))]
        chosen = draw_metals(self.elements, 2 if rng.random() < self.bimetallic_fraction else 1, self.max_size_mismatch, rng)
        if not chosen:
            return Refused("no_metals", f"no metal among {', '.join(self.elements)}")
        positions = self._positions(shape, rng)
        if positions is None:
            return Refused("too_many_atoms", f"no {shape} has at most {self.max_atoms} atoms")
        full = len(positions)
        if shape != "random":
            positions = _without_some(positions, int(rng.integers(self.max_missing + 1)), rng)
        symbols, arrangement = _arrange(chosen, positions, rng)
        strain = float(rng.uniform(-self.max_strain, self.max_strain))
        cluster = Structure(
            np.array(atomic_numbers_of(symbols)),
            positions * vegard_edge(symbols) * (1 + strain),
            generator_metadata={
                "shape": shape,
                "full_atoms": full,
                "missing_atoms": full - len(positions),
                "arrangement": arrangement,
                "strain": strain,
            },
        )
        if shape == "random":
            cluster = push_apart(cluster, RANDOM_DISTANCE)
        return cluster.with_(family=hill_formula(cluster.atomic_numbers, reduced=True))

    def _positions(self, shape: Shape, rng: np.random.Generator) -> Array | None:
        """Return sites at unit volume per atom, or None where the smallest particle of the shape is too large."""
        if shape != "random":
            known = [sites for sites in particles(shape) if len(sites) <= self.max_atoms]
            return known[int(rng.integers(len(known)))] if known else None
        n = int(rng.integers(SMALLEST, self.max_atoms + 1))
        direction = rng.normal(size=(n, 3))
        radius = (0.75 / np.pi * n) ** (1 / 3) * rng.random((n, 1)) ** (1 / 3)
        return np.asarray(radius * direction / np.linalg.norm(direction, axis=1, keepdims=True))


@lru_cache(maxsize=8)
def particles(shape: str) -> tuple[Array, ...]:
    """Return the sites of the particles that ASE makes of a shape, each (n, 3) at unit volume per atom, by size."""
    from ase.cluster import Decahedron, Icosahedron, Octahedron

    if shape == "icosahedron":
        made = [Icosahedron("Cu", shells, latticeconstant=FCC_EDGE) for shells in range(2, 5)]
    elif shape == "decahedron":
        sizes = [(p, q, r) for p in range(1, 5) for q in range(1, 5) for r in range(3)]
        made = [Decahedron("Cu", *size, latticeconstant=FCC_EDGE) for size in sizes]
    else:
        made = [
            Octahedron("Cu", length, cutoff, latticeconstant=FCC_EDGE)
            for length in range(2, 8)
            for cutoff in range((length - 1) // 2 + 1)
        ]
    found = [atoms.positions - atoms.positions.mean(axis=0) for atoms in made if len(atoms) >= SMALLEST]
    return tuple(sorted(found, key=len))


def _without_some(positions: Array, missing: int, rng: np.random.Generator) -> Array:
    """Leave out atoms of the surface: those with fewer than the twelve neighbors of closest packing."""
    for _ in range(min(missing, len(positions) - SMALLEST)):
        distance = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
        surface = np.flatnonzero((distance < BOND * SPACING).sum(axis=1) - 1 < 12)
        positions = np.delete(positions, int(rng.choice(surface)), axis=0)
    return positions


def _arrange(chosen: Sequence[str], positions: Array, rng: np.random.Generator) -> tuple[list[str], str]:
    """Draw the metal of each site; return the symbols and the name of the arrangement."""
    n = len(positions)
    if len(chosen) == 1:
        return [chosen[0]] * n, "pure"
    kind = str(rng.choice(("mixed", "core_shell", "two_halves")))
    first = int(rng.integers(1, n))
    score = {
        "mixed": rng.random(n),
        "core_shell": np.linalg.norm(positions - positions.mean(axis=0), axis=1),
        "two_halves": positions @ rng.normal(size=3),
    }[kind]
    inner = np.zeros(n, bool)
    inner[np.argsort(score, kind="stable")[:first]] = True
    return [chosen[0] if i else chosen[1] for i in inner], kind
