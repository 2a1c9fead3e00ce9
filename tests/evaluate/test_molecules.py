"""Torsions and dimers."""

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.mixing import LinearCombinationCalculator
from ase.calculators.morse import MorsePotential

from potstill.evaluate import molecules


def softened():
    return LinearCombinationCalculator([EMT()], [0.5])


@pytest.mark.parametrize(
    ("name", "count"), [("CH3CH2OH", 2), ("C6H6", 0), ("H2O", 0), ("C2H2", 0), ("H2O2", 1), ("C2H6", 1), ("trans-butane", 3)]
)
def test_rotatable_bonds(name, count):
    assert len(molecules.rotatable_bonds(molecule(name))) == count


def test_what_turns_is_one_side_of_the_bond():
    ethanol = molecule("CH3CH2OH")
    for (a, j, k, b), turned in molecules.rotatable_bonds(ethanol):
        assert k in turned
        assert b in turned
        assert j not in turned
        assert a not in turned


def test_torsion_of_half_the_forces_is_half_the_curve():
    (row,) = molecules.torsions(softened(), EMT(), molecule("CH3CH2OH"))
    curve = next(iter(row.curves.values()))
    assert np.allclose(curve.candidate, 0.5 * curve.reference, atol=1e-6)
    assert row.measured == pytest.approx(
        max(np.sqrt(np.mean((0.5 * c.reference) ** 2)) for c in row.curves.values()), rel=1e-6
    )
    assert row.measured > 0


def test_turning_moves_nothing_else():
    ethanol = molecule("CH3CH2OH")
    before = ethanol.positions.copy()
    molecules.torsions(EMT(), EMT(), ethanol)
    assert np.array_equal(ethanol.positions, before)


def test_torsions_do_not_apply_to_a_molecule_without_a_bond_to_turn():
    (row,) = molecules.torsions(EMT(), EMT(), molecule("H2O"))
    assert (row.measured, row.applies) == (None, False)


def test_relaxed_molecule_of_other_bond_lengths():
    water = molecule("H2O")
    (row,) = molecules.relaxed_molecule(EMT(), EMT(), water)
    assert row.measured == pytest.approx(0.0, abs=1e-9)
    pair = molecule("N2")
    (row,) = molecules.relaxed_molecule(LennardJones(sigma=1.2), LennardJones(sigma=1.0), pair)
    assert row.measured == pytest.approx(0.1 * 2 ** (1 / 6), rel=0.05)  # half of the difference of two bonds


def test_bumpy_dimer_is_named():
    class Bumpy(EMT):
        def calculate(self, *arguments, **options):
            super().calculate(*arguments, **options)
            bond = self.atoms.positions[1] - self.atoms.positions[0]
            push = np.sin(12 * np.linalg.norm(bond)) * bond / np.linalg.norm(bond)
            self.results["forces"] = self.results["forces"] + 3 * np.array([-push, push])

    (row,) = molecules.dimers(Bumpy(), EMT(), [29, 79], 3)
    assert row.measured == 3
    assert "Cu-Cu" in row.why
    assert set(row.curves) == {"Cu-Cu", "Cu-Au", "Au-Au"}
    (same,) = molecules.dimers(EMT(), EMT(), [29, 79], 2)
    assert same.measured == 0
    assert len(same.curves) == 2


def test_a_pair_without_the_well_of_the_reference_is_counted():
    bound, repulsive = MorsePotential(epsilon=3.8, r0=2.22, rho0=6.0, rcut1=7.0, rcut2=8.0), Repulsive()
    (row,) = molecules.dimers(repulsive, bound, [14], 1)
    assert row.measured == 1
    assert "no well where the reference has one: Si-Si (3.8 eV)" in row.why
    (row,) = molecules.dimers(bound, bound, [14], 1)
    assert row.measured == 0


class Repulsive(Calculator):
    """Exponential repulsion between two atoms."""

    implemented_properties = ("energy", "forces")

    def calculate(self, *arguments):
        super().calculate(*arguments)
        r = self.atoms.get_distance(0, 1, vector=True)
        energy = 5.0 * np.exp(-np.linalg.norm(r))
        pull = energy * r / np.linalg.norm(r)
        self.results = {"energy": energy, "forces": np.array([-pull, pull])}
