"""What engines share: atoms wrapped by an engine are followed, cells are turned and reduced without a change of physics."""

import logging

import numpy as np
import pytest
import torch

from potstill.core.errors import InputError, PotstillError
from potstill.core.types import Structure
from potstill.deploy.domain_warnings import LOOK_EVERY
from potstill.deploy.engine import Stepper, in_periodic_box, lower_triangular
from potstill.deploy.student import DeployedStudent
from potstill.student.domain import Domain
from potstill.testing import all_structures, random_student, rattled, triclinic, water

NUMBERS = [1, 6, 8, 11, 12, 14, 17, 18, 29]


@pytest.fixture(scope="module")
def student():
    plain = random_student(NUMBERS)
    return DeployedStudent(plain.model, plain.config, dtype=torch.float64)


def test_wrapped_atoms_cost_no_new_search(student):
    structure = rattled(triclinic())
    step = Stepper(student)
    (expected,) = student.label([structure])
    rng = np.random.default_rng(0)
    for _ in range(5):
        images = rng.integers(-2, 3, structure.positions.shape)
        wrapped = structure.positions + images @ structure.cell
        found = step(structure.atomic_numbers, wrapped, structure.cell, structure.pbc)
        assert found.energy == pytest.approx(expected.energy, abs=1e-10)
        assert np.allclose(found.forces, expected.forces, atol=1e-10)
    assert step.neighbors.searches == 1


def test_positions_of_the_engine_are_left_alone(student):
    structure = rattled(triclinic())
    step, positions = Stepper(student), structure.positions.copy()
    step(structure.atomic_numbers, positions, structure.cell, structure.pbc)
    positions += structure.cell[0]
    before = positions.copy()
    step(structure.atomic_numbers, positions, structure.cell, structure.pbc)
    assert np.array_equal(positions, before)


def test_numbers_that_are_none_stop_the_engine():
    structure = rattled(triclinic())
    broken = random_student(NUMBERS, backend="torch")
    broken.model.scale.mul_(float("nan"))
    with pytest.raises(PotstillError, match="stopped"):
        Stepper(broken)(structure.atomic_numbers, structure.positions, structure.cell, structure.pbc)


def test_an_element_outside_stops_the_engine_by_its_name(student):
    gold = Structure(np.array([79]), np.zeros((1, 3)))
    with pytest.raises(InputError, match="not trained on Au"):
        Stepper(student)(gold.atomic_numbers, gold.positions, gold.cell, gold.pbc)


def test_what_lies_far_outside_is_said_once_also_where_it_comes_later(caplog):
    student = random_student([1, 8])
    student.domain = Domain({"H-O": 0.9, "H-H": 1.4}, most_neighbors=4)
    start = water()
    step = Stepper(student)
    with caplog.at_level(logging.WARNING, logger="potstill"):
        for k in range(2 * LOOK_EVERY + 1):
            if k == LOOK_EVERY:
                assert caplog.text == ""
            squeezed = start.positions * (1.0 if k < LOOK_EVERY else 0.7)
            step(start.atomic_numbers, squeezed, start.cell, start.pbc)
    assert caplog.text.count("far outside the student's training data: H-O") == 1
    assert caplog.text.count("far outside the student's training data: H-H") == 1


@pytest.mark.parametrize("structure", all_structures(), ids=lambda s: s.id)
def test_turned_cell_is_the_same_system(structure, student):
    structure = rattled(structure)
    cell, rotation = lower_triangular(structure)
    assert np.allclose(np.triu(cell, 1), 0.0)
    assert (np.diag(cell) > 0).all()
    assert (np.abs([cell[1, 0], cell[2, 0]]) <= cell[0, 0] / 2 + 1e-9).all()
    assert abs(cell[2, 1]) <= cell[1, 1] / 2 + 1e-9
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    boxed = in_periodic_box(structure, 2 * student.cutoff_angstrom)
    a, b = student.label([structure, boxed])
    assert b.energy == pytest.approx(a.energy, abs=1e-10)
    assert np.allclose(b.forces, a.forces @ rotation, atol=1e-10)
