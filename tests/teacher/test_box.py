"""A cell around what has none, or not along every axis."""

from __future__ import annotations

import numpy as np
import pytest

from potstill.core.types import Structure
from potstill.teacher import load_teacher
from potstill.teacher.box import boxed
from potstill.testing import all_structures, one_atom, rattled, triclinic

GAP = 9.0


@pytest.mark.parametrize("structure", all_structures(), ids=lambda s: s.id)
def test_it_has_a_volume_and_changes_no_energy(structure):
    structure = rattled(structure)
    around = boxed(structure, GAP)
    assert around.pbc.all()
    assert around.volume > 0
    np.testing.assert_array_equal(around.positions, structure.positions)
    np.testing.assert_array_equal(around.cell[structure.pbc], structure.cell[structure.pbc])
    before, after = load_teacher("lennard-jones", sigma_angstrom=2.0).label([structure, around])
    assert after.energy == pytest.approx(before.energy, abs=1e-10)
    np.testing.assert_allclose(after.forces, before.forces, atol=1e-10)


def test_copies_are_apart_along_the_added_axes_only():
    tilted = triclinic().with_(pbc=[True, False, True])
    around = boxed(tilted, GAP)
    added = around.cell[1]
    assert np.abs(around.cell[[0, 2]] @ added).max() < 1e-12
    assert np.linalg.norm(added) == pytest.approx(GAP + np.ptp(tilted.positions @ added) / np.linalg.norm(added))
    assert np.linalg.norm(boxed(one_atom(), GAP).cell, axis=1) == pytest.approx([GAP] * 3)


def test_a_crystal_stays_as_it_is():
    crystal = triclinic()
    assert boxed(crystal, GAP) is crystal
    assert isinstance(boxed(one_atom(), GAP), Structure)
