"""Errors of a student against its teacher."""

import json

import numpy as np
import pytest

from potstill.core.types import Labels, Structure
from potstill.evaluate.errors import Comparison, per_element, summary
from potstill.teacher import load_teacher
from potstill.testing import copper, rattled, rocksalt, water


@pytest.fixture(scope="module")
def structures() -> list[Structure]:
    made = [
        rattled(make(), seed).with_(source=source)
        for seed in range(3)
        for make, source in ((copper, "metals"), (rocksalt, "salts"), (water, "molecules"))
    ]
    answers = load_teacher("lennard-jones", sigma_angstrom=1.2).label(made)
    return [s.with_(labels=a) for s, a in zip(made, answers, strict=True)]


def perturbed(structure: Structure, seed: int) -> Labels:
    rng, labels = np.random.default_rng(seed), structure.labels
    stress = None if labels.stress is None else labels.stress + rng.normal(0, 0.01, (3, 3))
    return Labels(labels.energy + rng.normal(), labels.forces + rng.normal(0, 0.1, labels.forces.shape), stress)


def zeros(structure: Structure) -> Labels:
    stress = None if structure.labels.stress is None else np.zeros((3, 3))
    return Labels(0.0, np.zeros_like(structure.labels.forces), stress)


def baseline(structures: list[Structure]) -> np.ndarray:
    return np.zeros(len(structures))


def test_a_perfect_student_has_no_error(structures):
    report = summary(Comparison(structures, [s.labels for s in structures]), baseline(structures))
    forces, energy = report["forces"], report["energy"]
    assert forces["mae"] == forces["rmse"] == forces["ratio_to_zero_baseline"] == 0
    assert energy["mae_per_atom"] == energy["rmse_per_atom"] == 0
    assert report["stress"]["mae"] == 0
    assert forces["zero_baseline_mae"] > 0


def test_a_student_of_zeros_has_the_error_of_zero(structures):
    report = summary(Comparison(structures, [zeros(s) for s in structures]), baseline(structures))
    assert report["forces"]["ratio_to_zero_baseline"] == pytest.approx(1.0)
    assert report["forces"]["mae"] == pytest.approx(report["forces"]["zero_baseline_mae"])
    assert report["energy"]["mae_per_atom"] == pytest.approx(report["energy"]["mean_baseline_mae_per_atom"])
    assert report["stress"]["mae"] == pytest.approx(report["stress"]["zero_baseline_mae"])


def test_errors_are_means_over_components_and_atoms():
    structure = water().with_(labels=Labels(-3.0, np.zeros((3, 3))))
    student = Labels(-1.5, np.array([[0.3, 0, 0], [0, -0.6, 0], [0, 0, 0.9]]))
    report = summary(Comparison([structure], [student]), np.array([-0.9]))
    assert report["forces"]["mae"] == pytest.approx(1.8 / 9)
    assert report["forces"]["rmse"] == pytest.approx(np.sqrt((0.09 + 0.36 + 0.81) / 9))
    assert report["forces"]["ratio_to_zero_baseline"] is None  # every force of the teacher is zero
    assert report["energy"]["mae_per_atom"] == pytest.approx(0.5)
    assert report["energy"]["mean_baseline_mae_per_atom"] == pytest.approx(0.1)
    assert "stress" not in report


def test_forces_of_rounding_are_zeros(structures):
    """A crystal at its minimum: no ratio to its forces says anything."""
    still = [s.with_(labels=Labels(0.0, np.full_like(s.labels.forces, 1e-15))) for s in structures]
    report = summary(Comparison(still, [Labels(0.0, np.full((len(s), 3), 1e-8)) for s in still]), baseline(still))
    assert report["forces"]["ratio_to_zero_baseline"] is None
    assert report["forces"]["slope"] is None


def test_units_and_the_keys_of_the_contract(structures):
    report = summary(Comparison(structures, [perturbed(s, k) for k, s in enumerate(structures)]), baseline(structures))
    assert {"mae", "rmse", "zero_baseline_mae", "unit"} <= report["forces"].keys()
    assert report["forces"]["unit"] == "eV/Å"
    assert {"mae_per_atom", "unit"} <= report["energy"].keys()
    assert report["stress"]["unit"] == "eV/Å^3"
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_sources_weighted_by_their_atoms_add_up_to_the_whole(structures):
    comparison = Comparison(structures, [perturbed(s, k) for k, s in enumerate(structures)])
    whole = summary(comparison, baseline(structures))
    total = atoms = 0
    for name in set(comparison.sources):
        part = comparison.subset(np.flatnonzero(comparison.sources == name))
        assert {s.source for s in part.structures} == {name}
        total += summary(part, baseline(part.structures))["forces"]["mae"] * part.atoms.sum()
        atoms += part.atoms.sum()
    assert atoms == comparison.atoms.sum()
    assert total / atoms == pytest.approx(whole["forces"]["mae"])


def test_elements_weighted_by_their_atoms_add_up_to_the_whole(structures):
    comparison = Comparison(structures, [perturbed(s, k) for k, s in enumerate(structures)])
    rows = per_element(comparison)
    assert set(rows) == {"H", "O", "Na", "Cl", "Cu"}
    assert {name: row["atoms"] for name, row in rows.items()} == {"H": 6, "O": 3, "Na": 3, "Cl": 3, "Cu": 12}
    mean = sum(row["atoms"] * row["forces"]["mae"] for row in rows.values()) / sum(row["atoms"] for row in rows.values())
    assert mean == pytest.approx(summary(comparison, baseline(structures))["forces"]["mae"])


def test_an_error_on_one_element_is_found_at_that_element():
    structure = water().with_(labels=Labels(0.0, np.ones((3, 3))))
    rows = per_element(Comparison([structure], [Labels(0.0, np.array([[1.6] * 3, [1.0] * 3, [1.0] * 3]))]))
    assert rows["O"]["forces"]["mae"] == pytest.approx(0.6)
    assert rows["H"]["forces"]["mae"] == 0
    assert rows["O"]["forces"]["zero_baseline_mae"] == pytest.approx(1.0)
