"""A public package computes properties with a student as with any other calculator: matcalc, where it is installed."""

from pathlib import Path

import numpy as np
import pytest
from ase import units

from potstill.deploy import load_student
from potstill.testing import copper

matcalc = pytest.importorskip("matcalc")

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(600)]  # warnings of packages that are not ours

COPPER = Path(__file__).parent / "copper_student"


@pytest.fixture
def calculator():
    """Nothing else in this file knows of students."""
    return load_student(COPPER, dtype="float64").calculator()


@pytest.fixture
def crystal():
    from pymatgen.io.ase import AseAtomsAdaptor

    return AseAtomsAdaptor.get_structure(copper().to_ase())


def test_relaxation(calculator, crystal):
    found = matcalc.RelaxCalc(calculator, fmax=0.01).calc(crystal)
    assert found["a"] == pytest.approx(3.6, abs=0.1)
    assert found["energy"] <= calculator.get_potential_energy(copper().to_ase()) + 1e-6


def test_equation_of_state(calculator, crystal):
    found = matcalc.EOSCalc(calculator, fmax=0.01, max_abs_strain=0.04).calc(crystal)
    assert found["r2_score_bm"] > 0.99
    assert 50 < found["bulk_modulus_bm"] < 300


def test_elastic_constants(calculator, crystal):
    found = matcalc.ElasticityCalc(calculator, fmax=0.01, shear_strains=(-0.01, 0.01), units_GPa=True).calc(crystal)
    tensor = np.array(found["elastic_tensor"].voigt)
    assert np.allclose(tensor, tensor.T, atol=0.05 * np.abs(tensor).max())
    assert np.allclose(np.diag(tensor)[:3], tensor[0, 0], rtol=0.05)  # cubic
    assert found["bulk_modulus_vrh"] > 0


def test_phonons(calculator, crystal, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {"supercell_matrix": 2 * np.eye(3, dtype=int), "fmax": 1e-3, "t_max": 300, "write_phonon": False}
    found = matcalc.PhononCalc(calculator, **options).calc(crystal)
    thermal = found["thermal_properties"]
    capacity = np.array(thermal["heat_capacity"]) / len(crystal)
    assert list(thermal["temperatures"])[-1] == 300
    assert 18 < capacity[-1] < 3 * units.kB * units.mol / units.J  # J/K/mol of atoms: near Dulong and Petit, not beyond
