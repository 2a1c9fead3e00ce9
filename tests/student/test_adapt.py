"""A student for other elements: the same predictions where it knows them, a finite start where not."""

import numpy as np
import pytest
import torch
from ase.build import bulk

from potstill.core.batch import make_batch
from potstill.core.types import Structure
from potstill.student.adapt import for_elements, shift_reference_energies
from potstill.student.alike import similarity
from potstill.student.files import count_parameters
from potstill.student.model import Student
from potstill.student.options import StudentArchitecture
from potstill.testing.models import random_student

SALT = Structure.from_ase(bulk("NaCl", "rocksalt", a=5.6, cubic=True))


def mixed(experts: int, elements: tuple[int, ...]) -> Student:
    """Return a random student whose elements differ in every weight that is theirs."""
    student = Student(StudentArchitecture(tier="nano", experts=experts, atomic_numbers=elements))
    with torch.no_grad():
        for name, tensor in student.state_dict().items():
            if name.endswith(("coefficients", "element_gain", "reference_energies")):
                tensor.add_(torch.randn_like(tensor))
    return student.eval().requires_grad_(requires_grad=False)


def rattled(structure: Structure, seed: int = 1) -> Structure:
    noise = np.random.default_rng(seed).normal(0, 0.1, structure.positions.shape)
    return structure.with_(positions=structure.positions + noise)


@pytest.mark.parametrize("experts", [1, 3, 8])
@pytest.mark.parametrize("elements", [(11, 17), (8, 11, 17)])
def test_predictions_stay_and_parameters_become_fewer(experts, elements):
    student = mixed(experts, (1, 8, 11, 14, 17, 29))
    adapted = for_elements(student, elements)
    batch = make_batch([rattled(SALT)], student.architecture.cutoff_angstrom)
    before, after = student.predict(batch), adapted.predict(batch)
    assert after.energy.numpy() == pytest.approx(before.energy.numpy(), abs=1e-4)
    assert after.forces.numpy() == pytest.approx(before.forces.numpy(), abs=1e-4)
    assert adapted.architecture.experts == min(experts, len(elements))
    assert count_parameters(adapted) < count_parameters(student)


def test_one_element_needs_no_coefficients():
    student = mixed(8, (14, 29))
    adapted = for_elements(student, (14,))
    batch = make_batch([rattled(Structure.from_ase(bulk("Si", cubic=True)))], 5.0)
    assert adapted.predict(batch).forces.numpy() == pytest.approx(student.predict(batch).forces.numpy(), abs=1e-4)
    assert not [name for name in adapted.state_dict() if name.endswith("coefficients")]


def test_an_unknown_element_starts_from_the_known_ones_that_are_like_it():
    student = mixed(3, (8, 14, 19))
    adapted = for_elements(student, (8, 11, 14, 19))
    before, after = student.embedding.weight, adapted.embedding.weight
    assert torch.equal(after[[0, 2, 3]], before)
    near = similarity([11], [8, 14, 19])[0]
    assert near.argmax() == 2  # potassium for sodium
    expected = torch.from_numpy(near / near.sum()).float() @ before
    assert torch.allclose(after[1], expected, atol=1e-6)
    assert (after[1] - before[2]).norm() < (after[1] - before[0]).norm()


def test_reference_energies_take_another_zero():
    student = random_student((11, 17)).model
    structures = [rattled(SALT, seed) for seed in range(4)]
    batch = make_batch(structures, student.architecture.cutoff_angstrom)
    predicted, before = student.predict(batch).energy.numpy(), student.reference_energies.clone()
    shift = np.zeros(119)
    shift[[1, 11, 17]] = 100.0, -3.0, 5.0
    shift_reference_energies(student, shift)
    assert (student.reference_energies - before).tolist() == [-3.0, 5.0]
    assert student.predict(batch).energy.numpy() == pytest.approx(predicted + 8.0, abs=1e-6)
