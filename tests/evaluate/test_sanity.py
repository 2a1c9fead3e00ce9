"""What every potential must do: EMT and a smooth Lennard-Jones potential do it, and each fault is seen by its size."""

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.mixing import LinearCombinationCalculator

from potstill.evaluate import sanity
from potstill.evaluate.gates import GATES
from potstill.evaluate.physics import ALONE
from potstill.testing import random_student
from potstill.testing.spoiled import SPOILED

CRYSTAL = bulk("Cu", "fcc", a=3.7, cubic=True)
CRYSTAL.symbols[0] = "Au"
MOLECULE = molecule("CH3OH")


def spoiled(name: str):
    return next(s for s in SPOILED if s.name == name).make(EMT())


@pytest.mark.parametrize("atoms", [CRYSTAL, MOLECULE], ids=["crystal", "molecule"])
@pytest.mark.parametrize("check", [f for f, _ in ALONE], ids=lambda f: f.__name__)
def test_a_good_potential_passes(check, atoms):
    for row in check(EMT(), atoms.copy()):
        assert row.measured <= GATES[row.check].limit


def test_an_untrained_student_passes():
    calculator = random_student([1, 6, 8]).calculator()
    for check, _ in ALONE:
        for row in check(calculator, MOLECULE.copy()):
            assert row.measured <= GATES[row.check].limit, row


def test_stress_of_the_wrong_sign_is_told():
    (row,) = sanity.stress_slope(spoiled("wrong_stress_sign"), CRYSTAL.copy())
    assert row.measured > GATES["stress_slope"].limit
    assert "wrong sign" in row.why
    (good,) = sanity.stress_slope(EMT(), CRYSTAL.copy())
    assert good.measured < GATES["stress_slope"].limit


class Field(Calculator):
    """Forces that are a function of each atom's place."""

    implemented_properties = ("energy", "forces")

    def __init__(self, forces):
        super().__init__()
        self.field, self.asked = forces, 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        self.asked += 1
        self.results = {"energy": 0.0, "forces": self.field(*atoms.positions.T)}


def test_work_along_a_loop_is_that_of_the_vortex():
    vortex = Field(lambda x, y, _: np.stack([-y, x, 0 * x], axis=1))
    (row,) = sanity.closed_loop(vortex, MOLECULE.copy())
    assert row.measured > 10 * GATES["closed_loop"].limit
    rng = np.random.default_rng(0)
    u, v = rng.normal(size=(2, len(MOLECULE), 3)) * sanity.LOOP_ANGSTROM
    area = np.pi * np.sum(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0])  # of the loop, seen along the axis of the vortex
    assert row.candidate["work along the loop, eV"] == pytest.approx(2 * area, rel=1e-6)


def test_steps_along_a_loop_are_as_fine_as_the_forces_want():
    """A potential that is steep: few points give it work that is not there."""
    wave = 60.0
    steep = Field(lambda x, y, z: np.sin(wave * np.stack([x, y, z], axis=1)))
    smooth = Field(lambda x, y, z: np.sin(np.stack([x, y, z], axis=1)))
    (row,) = sanity.closed_loop(steep, MOLECULE.copy())
    assert row.measured < 0.1 * GATES["closed_loop"].limit
    assert steep.asked > 48
    sanity.closed_loop(smooth, MOLECULE.copy())
    assert smooth.asked == 48


def test_rounding_is_no_work_where_forces_vanish_by_symmetry():
    primitive, rng = bulk("Cu"), np.random.default_rng(0)
    rounding = Field(lambda x, y, z: 1e-6 * rng.normal(size=(len(x), 3)))
    (row,) = sanity.closed_loop(rounding, primitive)
    assert row.measured < 0.2 * GATES["closed_loop"].limit
    (row,) = sanity.closed_loop(random_student([29]).calculator(), primitive)
    assert row.measured < 0.2 * GATES["closed_loop"].limit


def test_forces_that_never_settle_do_not_pass():
    (row,) = sanity.closed_loop(spoiled("noisy"), CRYSTAL.copy())
    assert row.measured > 5 * GATES["closed_loop"].limit
    assert "not settled" in row.why


def test_kink_is_found_where_it_is():
    (row,) = sanity.smoothness(spoiled("kink_at_the_cutoff"), [29, 29])
    assert row.measured == pytest.approx(0.05, rel=0.1)
    assert "4.1" in row.why or "4.0" in row.why
    jump = LennardJones(sigma=2.3, epsilon=0.5, rc=4.0, smooth=False)
    (row,) = sanity.smoothness(jump, [29, 29])
    assert row.measured > GATES["smoothness"].limit
    smooth = LennardJones(sigma=2.3, epsilon=0.5, rc=6.0, ro=4.0, smooth=True)
    assert sanity.smoothness(smooth, [29, 29])[0].measured < GATES["smoothness"].limit


def test_pairs_that_only_the_reference_drives_apart_count():
    (row,) = sanity.fused_pairs(spoiled("hole_at_short_range"), EMT(), [29, 79])
    assert row.measured == 3
    assert "Cu-Au" in row.why
    hole = spoiled("hole_at_short_range")
    (shared,) = sanity.fused_pairs(hole, hole, [29])
    assert shared.measured == 0
    assert "nor by the reference: Cu-Cu" in shared.why


def test_energy_per_atom_of_two_cells():
    (row,) = sanity.extensivity(spoiled("not_extensive"), CRYSTAL.copy())
    assert row.measured == pytest.approx(4.0, rel=1e-3)  # 1 meV times 4 atoms more


def test_far_atoms_that_feel():
    class Spread(EMT):
        """A tenth of the mean size of all forces acts on every atom."""

        def calculate(self, *arguments, **options):
            super().calculate(*arguments, **options)
            forces = self.results["forces"]
            self.results["forces"] = forces + 0.1 * np.linalg.norm(forces, axis=1).sum() / 3

    for atoms in (CRYSTAL, MOLECULE):
        (row,) = sanity.locality(Spread(), atoms.copy())
        assert row.measured > GATES["locality"].limit


def test_structures_without_an_answer_are_named():
    (row,) = sanity.endurance(spoiled("lost_without_neighbors"), CRYSTAL.copy())
    assert row.measured >= 3
    assert "one atom" in row.why


def test_what_raises_counts_as_no_answer():
    class Fails(EMT):
        def calculate(self, *arguments, **options):
            raise ValueError("no")

    (row,) = sanity.endurance(Fails(), MOLECULE.copy())
    assert row.measured == 3


def test_sum_of_calculators_is_a_potential_too():
    (row,) = sanity.force_slope(LinearCombinationCalculator([EMT(), EMT()], [0.5, 0.5]), CRYSTAL.copy())
    assert row.measured < GATES["force_slope"].limit
