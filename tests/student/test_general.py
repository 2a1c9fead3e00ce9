"""The student that comes with the package: it loads by its name, knows what its card says, and its figures are measured."""

import json
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule

import potstill
from potstill.core.types import Structure
from potstill.student.shipped import FOLDER, student_folder

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def general():
    return potstill.load_student("general", dtype="float64", backend="torch")


def test_it_knows_nearly_all_elements_and_its_size_is_that_of_the_tier(general):
    assert len(general.model.architecture.atomic_numbers) >= 85
    assert 5e6 <= general.parameters <= 2e7
    assert sum(path.stat().st_size for path in student_folder("general").iterdir()) < 30e6


def test_forces_are_the_slope_of_the_energy(general):
    water = Structure.from_ase(molecule("H2O"))
    step = 1e-4
    ahead, behind, here = general.label(
        [water.with_(positions=water.positions + sign * step * np.eye(3, dtype=float)[[0, 2, 1]]) for sign in (1, -1, 0)]
    )
    work = (here.forces * np.eye(3)[[0, 2, 1]]).sum()
    assert -(ahead.energy - behind.energy) / (2 * step) == pytest.approx(work, abs=1e-4)


def test_it_is_a_force_field_and_no_noise(general):
    crystal = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    energies = []
    for scale in (0.9, 1.0, 1.1):
        strained = crystal.copy()
        strained.set_cell(scale * crystal.cell, scale_atoms=True)
        energies.append(general.label([Structure.from_ase(strained)])[0].energy)
    assert energies[1] < min(energies[0], energies[2])


def test_the_card_states_the_figures_that_were_measured():
    card = (FOLDER / "general" / "README.md").read_text(encoding="utf-8")
    rows = json.loads((ROOT / "benchmarks" / "results" / "general.json").read_text(encoding="utf-8"))["rows"]
    shipped = max(rows, key=lambda row: row["labels"])
    assert f"{100 * shipped['of_mean_force']:.1f} % of the mean force" in card
    assert f"{shipped['energy_mev_per_atom']:.0f} meV/atom" in card
    assert f"{shipped['labels']:,} structures" in card


def test_its_weights_are_of_the_teacher_that_the_card_names():
    facts = json.loads((FOLDER / "general" / "config.json").read_text(encoding="utf-8"))
    assert facts["teacher"]["name"] == "sevennet 7net-0"
    assert facts["uncertainty"]["within_bound"] == pytest.approx(0.9, abs=0.05)
