"""One pass over the data against numbers worked out by hand."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase.data import chemical_symbols

from potstill.core.geometry import distance_fingerprint, smallest_scaled_distance
from potstill.core.types import Labels, Structure
from potstill.dataset import Dataset, open_dataset
from potstill.dataset.statistics import dataset_statistics
from potstill.stats import Statistics, collect, collect_once
from potstill.stats.table import VERSION


def labelled_structure(numbers, name, *, pbc=False, **labels) -> Structure:
    n = len(numbers)
    positions = np.arange(n)[:, None] * [1.0, 0.0, 0.0]
    values = {"energy": -3.0 * n, "forces": np.eye(n, 3), "stress": None, **labels}
    cell = np.eye(3) * 4.0 if pbc else np.zeros((3, 3))
    return Structure(numbers, positions, cell, [pbc] * 3, id=name, source=name[0], family=name, labels=Labels(**values))


def test_figures(build):
    pressed = -0.1 * np.eye(3)
    structures = [
        labelled_structure([1, 1], "a1"),
        labelled_structure([6, 1, 1, 1], "a2", forces=np.full((4, 3), 2.0)),
        labelled_structure([6, 8], "b1", pbc=True, stress=pressed),
    ]
    stats = collect(open_dataset(build(structures, splits=np.zeros(3))))
    assert stats.ids == stats.families == ["a1", "a2", "b1"]
    assert stats.formulas == ["H2", "CH3", "CO"]
    assert stats.atoms.tolist() == [2, 4, 2]
    assert stats.elements == {"a": {1: 5, 6: 1}, "b": {6: 1, 8: 1}}
    assert stats.element_counts == {1: 5, 6: 2, 8: 1}
    shares = np.array([5, 2, 1]) / 8
    assert stats.entropy_bits() == pytest.approx(-(shares * np.log2(shares)).sum())
    assert stats.size_cv() == pytest.approx(np.std([2, 4, 2]) / np.mean([2, 4, 2]))
    assert stats.energy_per_atom.tolist() == [-3.0] * 3
    assert stats.largest_force == pytest.approx([1.0, np.sqrt(12), 1.0])
    assert stats.mean_force == pytest.approx([1.0, np.sqrt(12), 1.0])
    assert stats.pressure[2] == pytest.approx(0.1)
    assert np.isnan(stats.pressure[:2]).all()
    assert stats.volume_per_atom[2] == pytest.approx(32.0)
    assert np.isnan(stats.volume_per_atom[:2]).all()
    assert stats.of_source("a").tolist() == [0, 1]


def test_the_entropy_of_equal_shares_is_its_ceiling(build):
    structures = [labelled_structure([z], f"s{z}") for z in (1, 6, 7, 8)]
    stats = collect(open_dataset(build(structures, splits=np.zeros(4))))
    assert stats.entropy_bits() == pytest.approx(2.0)
    assert stats.size_cv() == 0.0
    one = collect(open_dataset(build(structures[:1], splits=np.zeros(1))))
    assert str(one.entropy_bits()) == "0.0"


def test_kept_statistics_are_read_while_the_dataset_is_the_same(build, labelled, tmp_path, monkeypatch):
    kept, path = tmp_path / "kept.npz", build(labelled)
    first = collect_once(open_dataset(path), kept)
    with monkeypatch.context() as patched:
        patched.setattr("potstill.stats.one_pass.collect", None)  # it is not called
        again = collect_once(open_dataset(path), kept)
    for field in fields(Statistics):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(first, field.name), err_msg=field.name)
    path.unlink()
    other = collect_once(open_dataset(build(labelled[:5])), kept)
    assert len(other) == 5
    kept.write_bytes(kept.read_bytes()[:-100])
    assert Statistics.load(kept, "any") is None


def test_processes_change_nothing(build, labelled, monkeypatch):
    dataset = open_dataset(build(labelled))
    one = collect(dataset)
    monkeypatch.setattr("potstill.stats.one_pass.STRUCTURES_AT_ONCE", 10)
    monkeypatch.setattr("potstill.stats.one_pass.ONE_PROCESS_BELOW", 0)
    many = collect(dataset, workers=2)
    for field in fields(Statistics):
        np.testing.assert_array_equal(getattr(many, field.name), getattr(one, field.name), err_msg=field.name)


def test_fingerprints_and_distances_are_those_of_the_door(build, labelled):
    stats = collect(open_dataset(build(labelled)))
    for k, s in enumerate(labelled):
        assert stats.scaled_distance[k] == pytest.approx(smallest_scaled_distance(s)[0], rel=1e-6)
        np.testing.assert_allclose(stats.fingerprint(k), distance_fingerprint(s), atol=1e-5)


def test_siblings_do_the_work_between_their_energies(build, labelled):
    stats = collect(open_dataset(build(labelled)))
    near = stats.sibling >= 0
    assert near.sum() > 20
    assert np.nanmax(stats.work_gap / (stats.work_bound + 2e-3)) < 1.0
    atoms = [s.atomic_numbers.tolist() for s in labelled]
    assert all(atoms[k] == atoms[stats.sibling[k]] for k in np.flatnonzero(near))


def test_frames_that_are_families_of_their_own_are_siblings_too(build, labelled):
    alone = collect(open_dataset(build([s.with_(family=s.id) for s in labelled])))
    np.testing.assert_array_equal(alone.sibling, collect(open_dataset(build(labelled))).sibling)


def test_pairs_within_five_angstrom_are_those_of_the_dataset_statistics(build, labelled):
    dataset = open_dataset(build(labelled))
    stats, other = collect(dataset), dataset_statistics(dataset)
    pairs = {f"{chemical_symbols[a]}-{chemical_symbols[b]}": d for (a, b), d in stats.shortest_distances().items()}
    assert pairs == pytest.approx({name: shortest.angstrom for name, shortest in other.shortest_distances.items()}, rel=1e-6)
    assert stats.neighbors @ stats.atoms / stats.atoms.sum() == pytest.approx(other.neighbors.mean)


def test_pairs_of_structures_that_cannot_be_measured_are_left_out(build):
    path = build([labelled_structure([6, 1], "b1"), labelled_structure([6, 1, 8], "a1")], splits=np.zeros(2))
    with h5py.File(path, "r+") as file:
        file["atoms/positions"][0] = np.nan
    stats = collect(Dataset(path, compare_blocks=False))
    assert stats.shortest_distances() == pytest.approx({(1, 6): 1.0, (1, 8): 1.0, (6, 8): 2.0})
    assert np.isnan(stats.neighbors[0])


KEPT = Path(__file__).parent / "measurements.json"


def measurements(build) -> dict[str, list]:
    """Kind, size and sum of each column of the statistics of three structures."""
    structures = [
        labelled_structure([1, 1], "a1"),
        labelled_structure([6, 1, 1, 8], "a2", forces=np.full((4, 3), 2.0)),
        labelled_structure([6, 8], "b1", pbc=True, stress=-0.1 * np.eye(3)),
    ]
    stats, found = collect(open_dataset(build(structures, splits=np.zeros(3)))), {}
    for field in fields(Statistics):
        values = np.asarray(getattr(stats, field.name))
        number = values.dtype.kind in "bifu"
        finite = float(values[np.isfinite(values)].astype(float).sum()) if number else None
        found[field.name] = [values.dtype.name if number else "text", values.size, finite]
    return found


def test_other_measurements_have_another_version(build):
    """A run folder keeps its measurements: code that measures otherwise must not read them as its own."""
    kept, found = json.loads(KEPT.read_text(encoding="utf-8")), measurements(build)
    remedy = f"raise VERSION in stats/table.py, and write {KEPT.name} anew"
    assert kept["version"] == VERSION, remedy
    assert {name: row[:2] for name, row in found.items()} == {name: row[:2] for name, row in kept["columns"].items()}, remedy
    for name, (_, _, total) in found.items():
        if total is not None:
            assert total == pytest.approx(kept["columns"][name][2], rel=1e-4, abs=1e-6), f"{name}: {remedy}"
