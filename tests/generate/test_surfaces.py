"""Slabs are periodic along the surface only, as dense as their crystal, and have the vacuum that was asked for."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import fcc111

from potstill.core.geometry import distance_fingerprint, smallest_scaled_distance
from potstill.core.types import Labels, Refused, Structure
from potstill.generate.surfaces import Surfaces, metal_crystal
from potstill.teacher.classical import LennardJones
from potstill.testing import check_source


def made(answers) -> list[Structure]:
    return [a for a in answers if isinstance(a, Structure)]


def test_it_is_a_source():
    check_source(Surfaces(count=8))
    check_source(Surfaces(count=8, elements=("Na", "Cl", "H"), adsorbate_fraction=1.0, max_atoms=30))


def test_slabs():
    source = Surfaces(count=60, vacuum_angstrom=7.0)
    structures = made(source.propose(range(60), 1, ()))
    assert len(structures) > 50
    for slab in structures:
        assert slab.pbc.tolist() == [True, True, False]
        height = slab.cell[2, 2]
        np.testing.assert_allclose(slab.cell[2], [0.0, 0.0, height], atol=1e-9)
        np.testing.assert_allclose(slab.cell[:2, 2], 0.0, atol=1e-9)
        z = slab.positions[:, 2]
        assert z.min() == pytest.approx(7.0)
        assert height - z.max() == pytest.approx(7.0)
        assert max(abs(i) for i in slab.generator_metadata["miller_indices"]) <= 2
        assert slab.volume == 0.0  # so that no teacher is asked for a stress
    kinds = {s.generator_metadata["cut_from"] for s in structures}
    assert kinds == {"metals", "rocksalt", "zincblende", "prototypes"}


def test_a_slab_of_copper_is_that_of_ase():
    source = Surfaces(
        count=1, elements=("Cu",), crystals=("metals",), max_miller_index=1, max_lattice_strain=0.0, adsorbate_fraction=0.0
    )
    found = [
        s
        for s in made(source.propose(range(40), 1, ()))
        if [abs(i) for i in s.generator_metadata["miller_indices"]] == [1, 1, 1]
    ]
    assert found
    for slab in found:
        layers = len(np.unique(np.round(slab.positions[:, 2], 3)))
        reference = Structure.from_ase(fcc111("Cu", (1, 1, layers), a=metal_crystal("Cu")[0].cell[0, 0], vacuum=7.0))
        np.testing.assert_allclose(distance_fingerprint(slab), distance_fingerprint(reference), atol=1e-6)


def test_compounds_keep_their_composition_and_lattice():
    source = Surfaces(count=1, elements=("Na", "Cl"), crystals=("rocksalt",), adsorbate_fraction=0.0, max_lattice_strain=0.0)
    structures = made(source.propose(range(20), 1, ()))
    assert structures
    for slab in structures:
        assert slab.formula == slab.family == "ClNa"
        scaled, _ = smallest_scaled_distance(slab)
        assert scaled == pytest.approx(1.05)  # 2.81 Å; measured 2.82


def test_adsorbates_touch_the_surface_from_above():
    source = Surfaces(count=1, elements=("Cu", "C", "O"), crystals=("metals",), adsorbate_fraction=1.0)
    structures = made(source.propose(range(40), 1, ()))
    assert {s.generator_metadata["adsorbate"] for s in structures} >= {"CO", "O"}
    for slab in structures:
        metal = slab.atomic_numbers == 29
        assert slab.family == "Cu"
        assert slab.positions[~metal, 2].max() > slab.positions[metal, 2].max()
        neighbors = smallest_scaled_distance(slab)[0]
        assert 0.7 < neighbors < 1.1
        # nothing floats: the nearest metal atom is within 1.3 times the sum of covalent radii
        both = slab.to_ase()
        distance = both.get_all_distances(mic=True)[np.ix_(~metal, metal)]
        assert distance.min() < 1.31 * (1.32 + 0.76)


def test_a_teacher_labels_them():
    (slab,) = made(Surfaces(count=1, elements=("Cu",), crystals=("metals",)).propose([0], 1, ()))
    (labels,) = LennardJones().load().label([slab])
    assert isinstance(labels, Labels)
    assert labels.stress is None
    assert np.isfinite(labels.forces).all()


def test_nothing_to_cut():
    (answer,) = Surfaces(count=1, elements=("O",), crystals=("metals", "rocksalt")).propose([0], 1, ())
    assert isinstance(answer, Refused)
    assert answer.reason == "no_slab"
