"""Clusters are in one piece, of magic sizes where whole, and have the bond lengths of their metal."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from potstill.core.elements import covalent_radii
from potstill.core.neighbors import structure_neighbors
from potstill.core.types import Refused, Structure
from potstill.generate.clusters import Clusters, particles
from potstill.testing import check_source


def made(answers) -> list[Structure]:
    return [a for a in answers if isinstance(a, Structure)]


def pieces(structure: Structure) -> int:
    radii = covalent_radii()[structure.atomic_numbers]
    neighbors = structure_neighbors(structure, 8.0)
    i, j = neighbors.edge_index
    near = neighbors.distance < 1.6 * (radii[i] + radii[j])
    n = len(structure)
    return int(connected_components(coo_array((near[near], (i[near], j[near])), shape=(n, n)))[0])


def test_it_is_a_source():
    check_source(Clusters(count=8))
    check_source(Clusters(count=8, elements=("Pt", "Ni", "O"), max_atoms=20))


def test_whole_particles_have_magic_numbers():
    assert [len(p) for p in particles("icosahedron")] == [13, 55, 147]
    assert {6, 13, 19, 38, 44, 55, 79} <= {len(p) for p in particles("octahedron")}
    assert {7, 13, 23, 54, 75} <= {len(p) for p in particles("decahedron")}


def test_clusters():
    structures = made(Clusters(count=80, max_atoms=60).propose(range(80), 1, ()))
    assert len(structures) == 80
    for cluster in structures:
        facts = cluster.generator_metadata
        assert not cluster.pbc.any()
        assert len(cluster) == facts["full_atoms"] - facts["missing_atoms"] <= 60
        assert facts["missing_atoms"] <= 4
        assert len(set(cluster.atomic_numbers.tolist())) == (1 if facts["arrangement"] == "pure" else 2)
        assert pieces(cluster) == 1
    assert {s.generator_metadata["shape"] for s in structures} == {"icosahedron", "decahedron", "octahedron", "random"}


def test_bond_lengths_are_those_of_the_metal():
    source = Clusters(count=1, elements=("Cu",), shapes=("octahedron",), max_strain=0.0, max_missing=0)
    nearest = bulk("Cu", "fcc", a=3.61).cell[:].max() * 2**0.5
    for cluster in made(source.propose(range(5), 1, ())):
        distance = cluster.to_ase().get_all_distances()
        assert distance[distance > 0].min() == pytest.approx(nearest, abs=1e-3)


def test_core_and_shell():
    source = Clusters(count=1, bimetallic_fraction=1.0, max_missing=0)
    core_shells = [
        s
        for s in made(source.propose(range(40), 1, ()))
        if s.generator_metadata["arrangement"] == "core_shell" and len(s) > 12
    ]
    assert core_shells
    for cluster in core_shells:
        if cluster.generator_metadata["shape"] == "random":
            continue  # its atoms were pushed after the metals were chosen
        radius = np.linalg.norm(cluster.positions - cluster.positions.mean(axis=0), axis=1)
        inner, outer = (radius[cluster.atomic_numbers == z] for z in np.unique(cluster.atomic_numbers))
        assert inner.max() <= outer.min() + 1e-6 or outer.max() <= inner.min() + 1e-6


def test_all_sizes_of_one_composition_are_one_family():
    structures = made(Clusters(count=1, elements=("Cu",)).propose(range(20), 1, ()))
    assert {s.family for s in structures} == {"Cu"}
    assert len({len(s) for s in structures}) > 3


def test_no_metal_or_no_room():
    (answer,) = Clusters(count=1, elements=("O",)).propose([0], 1, ())
    assert isinstance(answer, Refused)
    assert answer.reason == "no_metals"
    (answer,) = Clusters(count=1, shapes=("icosahedron",), max_atoms=12).propose([0], 1, ())
    assert isinstance(answer, Refused)
    assert answer.reason == "too_many_atoms"
