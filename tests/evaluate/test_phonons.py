"""Phonons and vibrations: frequencies go with the square root of forces."""

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.mixing import LinearCombinationCalculator

from potstill.evaluate import molecules, solids
from potstill.evaluate.phonons import phonons, special_points

SOFTER = 100 * (1 - np.sqrt(0.9))


def softened():
    return LinearCombinationCalculator([EMT()], [0.9])


def test_phonons_of_a_softened_crystal():
    pytest.importorskip("phonopy")
    copper = solids.relax(bulk("Cu", "fcc", a=3.6), EMT(), cell=True)
    (row,) = phonons(softened(), EMT(), copper)
    assert row.measured == pytest.approx(SOFTER, rel=0.02)
    assert 6 < row.reference["highest, THz"] < 9  # 7.5 by experiment
    assert row.reference["lowest, THz"] > 0
    assert row.reference["heat capacity at 300 K, J/K/mol of atoms"] == pytest.approx(24, abs=1)
    band = row.curves["band 1"]
    assert len(band.x) == len(band.candidate) == len(band.reference) > 20
    assert [name for _, name in band.marks] == ["Γ", "X", "W", "K", "Γ", "L", "U", "W", "L", "K|U", "X"]
    a = copper.cell.lengths()[0] * np.sqrt(2)  # of the cubic cell
    places = {name: place for place, name in reversed(band.marks)}  # the first of each name
    assert places["X"] == pytest.approx(2 * np.pi / a, rel=1e-3)
    at_rest = [np.interp(place, band.x, band.reference) for place, name in band.marks if name == "Γ"]
    assert np.abs(at_rest).max() < 0.05 < np.interp(places["X"], band.x, band.reference)
    stored = row.report()["curves"]["band 1"]
    assert stored["marks"][1] == [pytest.approx(places["X"], rel=1e-5), "X"]


def test_a_crystal_that_only_the_candidate_finds_unstable_fails():
    """Springs that pull atoms off their sites, too weak for a large mean gap."""
    pytest.importorskip("phonopy")
    copper = solids.relax(bulk("Cu", "fcc", a=3.6), EMT(), cell=True)
    (row,) = phonons(LinearCombinationCalculator([EMT()], [-0.05]), EMT(), copper)
    assert row.measured == np.inf
    assert row.why.startswith("unstable: lowest frequency -1.")
    (row,) = phonons(LinearCombinationCalculator([EMT()], [-0.05]), LinearCombinationCalculator([EMT()], [-0.05]), copper)
    assert row.measured == 0  # neither is a minimum


def test_names_of_special_points():
    assert special_points([0.0, 1.0, 1.0, 2.0], ["G", "U", "K", "H12"]) == [(0.0, "Γ"), (1.0, "U|K"), (2.0, "H₁₂")]


def test_phonons_without_phonopy_did_not_run(monkeypatch):
    monkeypatch.setattr("potstill.core.registry.importlib.util.find_spec", lambda name: None)
    (row,) = phonons(EMT(), EMT(), bulk("Cu"))
    assert row.measured is None
    assert "phonons" in row.why


def test_a_crystal_with_too_many_displacements_did_not_run():
    pytest.importorskip("phonopy")
    crystal = bulk("Cu", "fcc", a=3.6, cubic=True) * (1, 1, 17)
    crystal.rattle(0.05, seed=1)
    (row,) = phonons(EMT(), EMT(), crystal)
    assert row.measured is None
    assert "204 displacements" in row.why


def test_phonons_of_an_alloy_without_symmetry():
    """A random alloy of 32 atoms needs 192 displacements in both directions: the gate never ran, and no student was GO."""
    pytest.importorskip("phonopy")
    alloy = bulk("Cu", "fcc", a=3.7, cubic=True) * (2, 2, 2)
    alloy.numbers[np.random.default_rng(0).permutation(32)[:16]] = 46
    alloy = solids.relax(alloy, EMT(), cell=True)
    (row,) = phonons(softened(), EMT(), alloy)
    assert row.measured == pytest.approx(SOFTER, rel=0.02)
    assert row.why == "96 displacements"


def test_vibrations_of_a_softened_molecule():
    water = solids.relax(molecule("H2O"), EMT(), cell=False)
    (row,) = molecules.vibrations(softened(), EMT(), water)
    assert row.measured == pytest.approx(SOFTER, rel=0.02)
    assert len(row.curves["vibrations"].x) == 3


def test_vibrations_of_two_atoms():
    nitrogen = solids.relax(molecule("N2"), EMT(), cell=False)
    (row,) = molecules.vibrations(EMT(), EMT(), nitrogen)
    assert row.measured == 0.0
    assert len(row.curves["vibrations"].x) == 1
