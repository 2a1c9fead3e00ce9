"""Constant-energy dynamics, with classical potentials in the place of a student."""

from dataclasses import replace

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from potstill.core.dynamics import draw_velocities
from potstill.core.types import Structure
from potstill.evaluate.dynamics import run_nve
from potstill.testing import copper, random_student, rattled, rocksalt, water


class Classical:
    """What run_nve asks of a student: its calculator."""

    def __init__(self, make):
        self.calculator = make


class Driven(EMT):
    """Forces that are not the slope of the energy: a wind."""

    def calculate(self, *arguments, **options):
        super().calculate(*arguments, **options)
        self.results["forces"] = self.results["forces"] + [0.3, 0.0, 0.0]


def nve(student, structure: Structure, **options):
    defaults = {"length_ps": 0.1, "temperature_kelvin": 300.0, "seed": 1}
    return run_nve(student, structure, **{**defaults, **options})


@pytest.fixture(scope="module")
def trajectory():
    return nve(Classical(EMT), rattled(copper()))


def test_energy_is_conserved_by_a_conservative_potential(trajectory):
    assert trajectory.finite
    assert trajectory.drift_mev_per_atom < 0.5
    assert trajectory.largest_deviation_mev_per_atom < 2.0
    kinetic = 1.5 * 8.617e-5 * trajectory.temperature * 1e3
    assert np.ptp(kinetic) > 10 * trajectory.largest_deviation_mev_per_atom  # energy flows between the two kinds


def test_record_of_the_run(trajectory):
    assert trajectory.kind == "crystal"
    assert trajectory.atoms == 32
    assert trajectory.steps == 100
    assert trajectory.timestep_fs == 1.0
    assert trajectory.time_ps[0] == 0.0
    assert trajectory.time_ps[-1] == pytest.approx(0.1)
    assert len(trajectory.time_ps) == len(trajectory.total_energy) == len(trajectory.temperature)
    assert trajectory.temperature[0] == pytest.approx(300.0, rel=0.1)
    assert len(trajectory.final) == 32


def test_report_has_the_keys_of_the_contract(trajectory):
    report = trajectory.report()
    assert {"system", "drift_mev_per_atom_per_ns", "steps", "finite"} <= report.keys()
    assert report["drift_mev_per_atom_per_ns"] == pytest.approx(1e4 * trajectory.drift_mev_per_atom)


def test_molecule_with_hydrogen_takes_short_steps():
    trajectory = nve(Classical(lambda: LennardJones(epsilon=0.1, sigma=1.0, rc=6.0, smooth=True)), water())
    assert trajectory.kind == "molecule"
    assert (trajectory.atoms, trajectory.timestep_fs, trajectory.steps) == (3, 0.5, 200)
    assert trajectory.finite
    assert trajectory.drift_mev_per_atom < 1.0


def test_wind_is_seen_as_drift():
    assert nve(Classical(Driven), rattled(copper())).drift_mev_per_atom > 5.0


def test_velocities_have_the_temperature_and_no_drift():
    atoms = copper().to_ase().repeat(4)
    draw_velocities(atoms, 500.0, np.random.default_rng(0))
    assert atoms.get_temperature() == pytest.approx(500.0)
    assert np.abs(atoms.get_momenta().sum(axis=0)).max() < 1e-9
    spread = atoms.get_velocities().std(axis=0)
    assert np.allclose(spread, spread.mean(), rtol=0.2)


def test_seed_decides_the_run():
    first, again, other = (nve(Classical(EMT), copper(), length_ps=0.02, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.total_energy, again.total_energy)
    assert not np.array_equal(first.total_energy, other.total_energy)


def test_start_is_not_changed():
    structure = rattled(copper())
    before = structure.positions.copy()
    nve(Classical(EMT), structure, length_ps=0.005)
    assert np.array_equal(structure.positions, before)


def test_an_untrained_student_runs():
    trajectory = nve(random_student([11, 17]), rattled(rocksalt()), length_ps=0.02)
    assert trajectory.finite
    assert trajectory.atoms >= 32


def test_numbers_that_are_not_finite_are_no_drift(trajectory):
    broken = replace(trajectory, total_energy=np.full_like(trajectory.total_energy, np.nan))
    assert not broken.finite
    assert broken.drift_mev_per_atom == np.inf
    report = broken.report()
    assert report["finite"] is False
    assert report["drift_mev_per_atom"] is None
    assert report["drift_mev_per_atom_per_ns"] is None
