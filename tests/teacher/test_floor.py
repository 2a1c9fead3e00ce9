"""The floor of a conservative student, on fields whose floor is known."""

from __future__ import annotations

import numpy as np
import pytest

from potstill.core.errors import InputError
from potstill.core.types import PROPERTIES, Labels, Refused, Structure
from potstill.teacher.floor import force_floor
from potstill.testing import copper, ethanol, rattled, rocksalt, water

N = 9  # atoms of ethanol


class Field:
    """Forces by a function of the positions, and no energy to speak of."""

    elements, properties = None, PROPERTIES

    def __init__(self, forces):
        self.forces = forces
        self.fingerprint = {"name": "field", "version": "1", "weights": "none", "dtype": "float64"}

    def label(self, structures):
        return [Labels(0.0, self.forces(s)) for s in structures]


@pytest.fixture
def matrix():
    return np.random.default_rng(3).normal(size=(3 * N, 3 * N))


def linear(matrix, at: Structure):
    return lambda s: (matrix @ (s.positions - at.positions).ravel()).reshape(-1, 3)


@pytest.mark.parametrize("make", [water, ethanol, copper, rocksalt])
def test_a_potential_has_none(lj, make):
    structures = [rattled(make())]
    assert force_floor(lj, structures, step_angstrom=1e-4).total < 1e-6
    default = force_floor(lj, structures)
    assert default.total < 1e-3 * default.forces + 1e-6
    assert default.structures == 1


def test_the_curl_of_a_linear_field_is_that_of_its_antisymmetric_part(matrix):
    at = ethanol()
    antisymmetric = (matrix - matrix.T) / 2
    expected = 0.05 * np.linalg.norm(antisymmetric) / np.sqrt(3 * N)
    floor = force_floor(Field(linear(matrix, at)), [at] * 4, directions=32)
    assert floor.curl == pytest.approx(expected, rel=0.05)
    assert floor.curl_error < 0.05 * expected
    assert force_floor(Field(linear(matrix + matrix.T, at)), [at]).curl < 1e-9
    assert force_floor(Field(linear(matrix, at)), [at] * 4, directions=32, sigma_angstrom=0.1).curl == pytest.approx(
        2 * floor.curl
    )


def test_it_is_the_error_of_the_best_potential(matrix):
    """Fit a quadratic potential to displaced copies: what is left is the floor, and no matrix leaves less."""
    rng = np.random.default_rng(0)
    displacements = rng.normal(0.0, 0.05, size=(20_000, 3 * N))
    forces = displacements @ matrix.T
    hessian = (matrix + matrix.T) / 2
    left = np.sqrt(np.mean((forces - displacements @ hessian.T) ** 2))
    at = ethanol()
    floor = force_floor(Field(linear(matrix, at)), [at] * 4, directions=32)
    assert floor.curl == pytest.approx(left, rel=0.05)
    for change in rng.normal(0.0, 0.1, size=(3, 3 * N, 3 * N)):
        worse = hessian + change + change.T
        assert np.sqrt(np.mean((forces - displacements @ worse.T) ** 2)) > left


def test_a_net_force_and_a_net_torque():
    push = np.array([0.3, 0.0, 0.4])
    floor = force_floor(Field(lambda s: np.tile(push, (len(s), 1))), [ethanol(), water()])
    assert floor.net_force == pytest.approx(0.5 / np.sqrt(3))
    assert floor.forces == pytest.approx(0.5 / np.sqrt(3))
    assert floor.net_torque == pytest.approx(0.0, abs=1e-12)

    def turning(s):
        return np.cross([0.0, 0.0, 0.7], s.positions - s.positions.mean(axis=0))

    floor = force_floor(Field(turning), [ethanol()])
    assert floor.net_torque == pytest.approx(np.sqrt(np.mean(turning(ethanol()) ** 2)))
    assert floor.net_force == pytest.approx(0.0, abs=1e-12)
    assert force_floor(Field(turning), [rattled(copper())]).net_torque == 0.0


def test_linear_molecules_and_single_atoms_do_not_turn_about_their_axis():
    line = Structure([6, 8], [[0, 0, 0], [0, 0, 1.1]], id="CO")
    floor = force_floor(Field(lambda s: np.tile([0.0, 0.0, 1.0], (len(s), 1))), [line, Structure([18], [[0, 0, 0]])])
    assert np.isfinite([floor.net_force, floor.net_torque, floor.curl, floor.total]).all()


def test_structures_that_are_refused_are_left_out():
    class Choosy(Field):
        def label(self, structures):
            return [Refused("no") if len(s) == N else Labels(0.0, np.zeros((len(s), 3))) for s in structures]

    assert force_floor(Choosy(None), [ethanol(), water()]).structures == 1
    with pytest.raises(InputError, match="labels none"):
        force_floor(Choosy(None), [ethanol()])
