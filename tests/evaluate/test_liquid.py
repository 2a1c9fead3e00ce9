"""Atoms in motion, with EMT copper."""

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from potstill.evaluate.gates import GATES
from potstill.evaluate.liquid import langevin, motion, stability
from potstill.evaluate.measured import of
from potstill.testing.spoiled import SPOILED

COPPER = bulk("Cu", "fcc", a=3.6, cubic=True) * (2, 2, 1)


def rows(candidate, atoms=COPPER, **options):
    given = {"length_ps": 0.06, "temperature_kelvin": 300.0, "seed": 1, **options}
    return {row.check: row for row in motion(candidate, EMT(), atoms.copy(), **given)}


def test_a_model_moves_like_itself():
    found = rows(EMT())
    assert set(found) == {"rdf", "adf", "vdos", "pressure"}
    assert all(row.measured == 0 for row in found.values())
    assert found["rdf"].curves["rdf"].x[np.argmax(found["rdf"].curves["rdf"].reference)] == pytest.approx(2.54, abs=0.15)


def test_a_pressure_of_the_wrong_sign_is_far_away():
    spoiled = next(s for s in SPOILED if s.name == "wrong_stress_sign").make(EMT())
    strained = COPPER.copy()
    strained.set_cell(0.97 * np.array(strained.cell), scale_atoms=True)
    found = rows(spoiled, strained)
    assert found["pressure"].measured > 5 * GATES["pressure"].limit
    assert found["rdf"].measured == 0


def test_molecules_have_no_pressure():
    found = rows(EMT(), molecule("H2O"), length_ps=0.02)
    assert set(found) == {"rdf", "adf", "vdos"}


def test_stability_of_a_crystal():
    hot, pressed = stability(EMT(), COPPER.copy(), length_ps=0.1, temperature_kelvin=300.0, seed=1, at_no_pressure=True)
    assert (hot.check, pressed.check) == ("nvt", "npt")
    assert hot.measured < GATES["nvt"].limit
    assert pressed.measured < GATES["npt"].limit
    assert "600 K" in hot.why


def test_fused_atoms_do_not_hold_out():
    class Sticky(EMT):
        def calculate(self, *arguments, **options):
            super().calculate(*arguments, **options)
            self.results["forces"] = -self.results["forces"]

    rattled = COPPER.copy()
    rattled.rattle(0.2, seed=1)
    hot, *_ = stability(Sticky(), rattled, length_ps=0.1, temperature_kelvin=300.0, seed=1, at_no_pressure=True)
    assert not hot.measured <= GATES["nvt"].limit


def test_thermostat_reaches_its_temperature():
    run = langevin(of(COPPER * (1, 1, 2), EMT()), length_ps=0.3, temperature_kelvin=500.0, seed=2)
    assert run.temperature[run.settled].mean() == pytest.approx(500, rel=0.2)
    assert len(run.positions) == len(run.pressure) == 75
