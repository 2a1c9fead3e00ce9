"""A teacher as an ASE calculator says what the teacher says, and fails where it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.calculator import CalculationFailed, PropertyNotImplementedError

from potstill.teacher.calculator import TeacherCalculator
from potstill.teacher.classical import EMT
from potstill.testing import copper, rattled


def test_it_says_what_the_teacher_says():
    teacher = EMT().load()
    structure = rattled(copper())
    (labels,) = teacher.label([structure])
    atoms = structure.to_ase()
    atoms.calc = TeacherCalculator(teacher)
    assert atoms.get_potential_energy() == labels.energy
    np.testing.assert_array_equal(atoms.get_forces(), labels.forces)
    np.testing.assert_allclose(atoms.get_stress(voigt=False), labels.stress, rtol=1e-12)


def test_refusals_and_missing_stress_are_errors():
    atoms = molecule("H2O")
    atoms.calc = TeacherCalculator(EMT().load())
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()
    iron = bulk("Fe")
    iron.calc = TeacherCalculator(EMT().load())
    with pytest.raises(CalculationFailed, match="unsupported_element"):
        iron.get_potential_energy()


def test_it_follows_the_atoms():
    atoms = copper().to_ase()
    atoms.calc = TeacherCalculator(EMT().load())
    before = atoms.get_potential_energy()
    atoms.positions[0] += 0.1
    assert atoms.get_potential_energy() > before
    atoms.positions[0] -= 0.1
    assert atoms.get_potential_energy() == pytest.approx(before, abs=1e-9)
