"""Properties of crystals, with EMT: against each other, against a softened copy, and against what is known of copper."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.mixing import LinearCombinationCalculator

from potstill.evaluate import solids


def softened(factor: float = 0.9):
    return LinearCombinationCalculator([EMT()], [factor])


@pytest.fixture(scope="module")
def copper():
    return solids.relax(bulk("Cu", "fcc", a=3.65, cubic=True), EMT(), cell=True)


@pytest.mark.parametrize("check", solids.PROPERTIES, ids=lambda check: check.__name__)
def test_a_model_agrees_with_itself(check, copper):
    for row in check(EMT(), EMT(), copper):
        assert row.measured == pytest.approx(0.0, abs=1e-9)


def test_bulk_modulus_and_volume_are_those_of_copper(copper):
    volume, bulk_modulus = solids.equation_of_state(EMT(), EMT(), copper)
    assert volume.reference["volume, Å^3/atom"] == pytest.approx(11.6, rel=0.03)  # 3.59 Å, as ASE's tutorials have it
    assert bulk_modulus.reference["bulk modulus, GPa"] == pytest.approx(134, rel=0.05)


def test_elastic_constants_give_the_same_bulk_modulus(copper):
    (row,) = solids.elastic_constants(EMT(), EMT(), copper)
    _, of_state = solids.equation_of_state(EMT(), EMT(), copper)
    assert row.reference["K, GPa"] == pytest.approx(of_state.reference["bulk modulus, GPa"], rel=0.03)


def test_ten_per_cent_softer_is_ten_per_cent_off(copper):
    _, modulus = solids.equation_of_state(softened(), EMT(), copper)
    (constants,) = solids.elastic_constants(softened(), EMT(), copper)
    (surfaces,) = solids.surfaces(softened(), EMT(), copper)
    for row in (modulus, constants, surfaces):
        assert row.measured == pytest.approx(10.0, abs=0.2)


def test_vacancy_of_an_element_is_its_formation_energy(copper):
    (row,) = solids.vacancies(softened(), EMT(), copper)
    assert row.reference["Cu, eV"] == pytest.approx(1.3, abs=0.4)
    assert row.measured == pytest.approx(0.1 * row.reference["Cu, eV"], rel=1e-3)


def test_relaxed_cell_sees_another_lattice_constant(copper):
    cell, positions = solids.relaxed_crystal(EMT(), EMT(), copper.copy())
    assert cell.measured == pytest.approx(0.0, abs=1e-6)
    silver = bulk("Cu", "fcc", a=3.65, cubic=True)
    other = solids.relax(silver, EMT(), cell=True)
    assert np.allclose(other.cell.lengths(), copper.cell.lengths(), atol=5e-3)
    assert positions.measured == pytest.approx(0.0, abs=1e-6)


def test_energies_without_a_minimum_are_no_pass(copper):
    class Slope(EMT):
        def get_potential_energy(self, atoms=None, force_consistent=False):
            return -atoms.get_volume()

    rows = solids.equation_of_state(Slope(), EMT(), copper)
    assert any(not row.measured < 10 for row in rows)
