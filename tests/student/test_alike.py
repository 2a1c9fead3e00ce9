"""Similar elements: their descriptors, and the weights that a training starts from."""

import numpy as np
import pytest
import torch
from ase.data import atomic_numbers

from potstill.core.types import MAX_ATOMIC_NUMBER
from potstill.student.alike import OWN, alike, descriptors, start_alike
from potstill.testing.models import random_student

SYMBOLS = ["H", "C", "O", "Na", "Si", "Cl", "K", "Fe", "Ni", "Br", "La", "Ce", "U"]
NUMBERS = [atomic_numbers[s] for s in SYMBOLS]


@pytest.mark.parametrize(
    ("symbol", "period", "valence"),
    [
        ("He", 1, [2, 0, 0, 0]),
        ("Si", 3, [2, 2, 0, 0]),
        ("K", 4, [1, 0, 0, 0]),
        ("Fe", 4, [2, 0, 6, 0]),
        ("Br", 4, [2, 5, 0, 0]),
        ("Eu", 6, [2, 0, 0, 7]),
        ("W", 6, [2, 0, 4, 0]),
        ("Pb", 6, [2, 2, 0, 0]),
        ("Pu", 7, [2, 0, 0, 6]),
    ],
)
def test_valence_electrons_follow_madelungs_rule(symbol, period, valence):
    _, *found = descriptors([atomic_numbers[symbol]])[0].tolist()
    assert found == [period, *valence]


def test_numbers_of_similar_elements_are_correlated_and_of_unit_spread():
    torch.manual_seed(0)
    found = alike(NUMBERS, 20_000).numpy()
    assert found.std(axis=1) == pytest.approx(np.ones(len(NUMBERS)), abs=0.03)
    correlation = np.corrcoef(found)

    def between(a: str, b: str) -> float:
        return float(correlation[SYMBOLS.index(a), SYMBOLS.index(b)])

    assert min(between("La", "Ce"), between("Fe", "Ni"), between("Cl", "Br")) > 0.8
    assert between("Na", "K") > between("Na", "Cl") > between("O", "U")
    assert correlation[~np.eye(len(NUMBERS), dtype=bool)].max() < 1.0 - 0.9 * OWN**2  # none is another's copy


def test_every_element_has_finite_numbers():
    assert alike(range(1, MAX_ATOMIC_NUMBER + 1), 5).isfinite().all()
    assert alike([29], 4).shape == (1, 4)


def test_a_student_starts_alike_and_keeps_its_other_weights():
    student = random_student(NUMBERS, experts=4).model
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    start_alike(student)
    after = student.state_dict()
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert changed == {name for name in before if name.endswith(("embedding.weight", "coefficients"))}
    first = [tensor[:, 0] for name, tensor in after.items() if name.endswith("coefficients")]
    assert len(first) > 1
    assert all((column == 1.0).all() for column in first)
