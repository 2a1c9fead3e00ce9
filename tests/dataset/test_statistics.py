"""Statistics of one pass against figures by brute force, over structures of every kind."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from ase.data import chemical_symbols

from potstill.core.errors import DatasetError
from potstill.core.neighbors import structure_neighbors
from potstill.core.types import Labels, Refused, Structure
from potstill.dataset import merge, open_dataset, write_part
from potstill.dataset import statistics as module
from potstill.dataset.statistics import dataset_statistics
from potstill.dataset.tally import Moments
from potstill.stats.references import composition_matrix, compositions, fit_reference_energies
from potstill.testing.structures import all_structures, rattled


@pytest.fixture
def mixed() -> list[Structure]:
    """Every kind of cell, several times, with labels that a random generator made."""
    rng = np.random.default_rng(0)
    found = []
    for k, s in enumerate([rattled(s, seed) for seed in range(4) for s in all_structures()]):
        stress = rng.normal(size=(3, 3)) if s.pbc.all() else None
        labels = Labels(float(rng.normal() - 3 * len(s)), rng.normal(size=(len(s), 3)), stress)
        positions = s.positions.astype(np.float32)  # as they are stored
        found.append(s.with_(id=f"m-{k}", source="ab"[k % 2], positions=positions, labels=labels))
    return found


def test_counts(build, mixed):
    refused = [
        Refused("too_close", stage="generate"),
        Refused("force_limit", stage="label"),
        Refused("too_close", stage="label"),
    ]
    splits = np.arange(len(mixed)) % 3
    stats = dataset_statistics(open_dataset(build(mixed, splits=splits, refused=[*refused, refused[1]])))
    assert (stats.structures, stats.labelled) == (len(mixed), len(mixed))
    assert stats.atoms == sum(map(len, mixed))
    assert stats.splits == {name: int((splits == k).sum()) for k, name in enumerate(("train", "valid", "test"))}
    assert stats.refused == {"generate": {"too_close": 1}, "label": {"force_limit": 2, "too_close": 1}}
    assert stats.sources == Counter(s.source for s in mixed)
    assert (stats.duplicate_ids, stats.not_finite) == (0, 0)


def test_elements_by_source_and_their_entropy(build, mixed):
    stats = dataset_statistics(open_dataset(build(mixed)))
    for name in "ab":
        expected = Counter(chemical_symbols[z] for s in mixed if s.source == name for z in s.atomic_numbers)
        assert stats.elements[name] == expected
    counts = np.unique(np.concatenate([s.atomic_numbers for s in mixed]), return_counts=True)[1]
    share = counts / counts.sum()
    assert stats.element_entropy_bits == pytest.approx(-(share * np.log2(share)).sum())


def test_sizes(build, mixed):
    stats = dataset_statistics(open_dataset(build(mixed)))
    sizes = np.array([len(s) for s in mixed])
    assert stats.sizes.mean == pytest.approx(sizes.mean())
    assert stats.sizes.std == pytest.approx(sizes.std())
    assert stats.size_cv == pytest.approx(sizes.std() / sizes.mean())
    assert stats.sizes.bars == tuple(np.bincount(sizes)[sizes.min() :])
    assert len(stats.sizes.edges) == len(stats.sizes.bars) + 1


def test_energies(build, mixed):
    dataset = open_dataset(build(mixed))
    stats = dataset_statistics(dataset)
    per_atom = np.array([s.labels.energy / len(s) for s in mixed])
    assert stats.energy_per_atom.mean == pytest.approx(per_atom.mean())
    assert stats.energy_per_atom.std == pytest.approx(per_atom.std())
    present, amounts, energy = compositions(dataset)
    expected = fit_reference_energies(amounts, energy)
    assert stats.reference_energies == pytest.approx(
        {chemical_symbols[z]: e for z, e in zip(present, expected, strict=True)}, abs=1e-8
    )
    left = per_atom - amounts @ expected / amounts.sum(axis=1)
    assert stats.energy_residual_rms == pytest.approx(np.sqrt((left**2).mean()))
    assert composition_matrix(dataset.gather(np.arange(3)), present).shape == (3, len(present))


def test_forces_and_stress(build, mixed):
    stats = dataset_statistics(open_dataset(build(mixed)))
    forces = np.concatenate([s.labels.forces for s in mixed])
    norms = np.linalg.norm(forces, axis=1)
    assert stats.force_component.count == forces.size
    assert stats.force_component.std == pytest.approx(forces.std(), rel=1e-6)
    assert stats.force_norm.mean == pytest.approx(norms.mean(), rel=1e-6)
    assert stats.force_norm.largest == pytest.approx(norms.max(), rel=1e-6)
    assert stats.force_norm.bars == tuple(np.histogram(norms, stats.force_norm.edges)[0])
    stress = np.array([s.labels.stress for s in mixed if s.labels.stress is not None])
    assert stats.stress_component.count == stress.size
    assert stats.stress_component.std == pytest.approx(stress.std(), rel=1e-6)
    assert stats.pressure.mean == pytest.approx(-np.trace(stress, axis1=1, axis2=2).mean() / 3, rel=1e-5)


@pytest.mark.parametrize("pairs_at_once", [1, 100, 10**9])
def test_neighbors_and_shortest_distances(build, mixed, monkeypatch, pairs_at_once):
    monkeypatch.setattr("potstill.dataset.tally.PAIRS_AT_ONCE", pairs_at_once)
    stats = dataset_statistics(open_dataset(build(mixed)))
    counts: list[int] = []
    shortest: dict[str, float] = {}
    per_structure: dict[tuple[str, str], float] = {}
    for s in mixed:
        found = structure_neighbors(s, 5.0)
        counts += np.bincount(found.edge_index[0], minlength=len(s)).tolist()
        for i, j, d in zip(*found.edge_index, found.distance, strict=True):
            pair = "-".join(chemical_symbols[z] for z in sorted((int(s.atomic_numbers[i]), int(s.atomic_numbers[j]))))
            shortest[pair] = min(shortest.get(pair, 9.0), float(d))
            per_structure[s.id, pair] = min(per_structure.get((s.id, pair), 9.0), float(d))
    assert stats.neighbors.count == len(counts)
    assert stats.neighbors.mean == pytest.approx(np.mean(counts))
    assert stats.neighbors.bars == tuple(np.bincount(counts)[min(counts) :])
    found_shortest = {pair: s.angstrom for pair, s in stats.shortest_distances.items()}
    assert found_shortest == pytest.approx(shortest, abs=1e-6)
    for pair, s in stats.shortest_distances.items():
        assert per_structure[s.id, pair] == pytest.approx(s.angstrom, abs=1e-6)


def test_the_same_by_blocks_and_by_workers(build, mixed, monkeypatch):
    dataset = open_dataset(build(mixed))
    whole = dataset_statistics(dataset, workers=1)
    monkeypatch.setattr(module, "ATOMS_PER_WORKER", 50)
    assert_equal(dataset_statistics(dataset, workers=2), whole)
    monkeypatch.setattr("potstill.dataset.tally.BLOCK_STRUCTURES", 3)
    assert_equal(dataset_statistics(dataset, workers=1), whole)


def assert_equal(found, expected) -> None:
    a, b = found.as_dict(), expected.as_dict()
    assert a.keys() == b.keys()
    for name, value in a.items():
        if isinstance(value, dict) and "mean" in value:
            for key in value:
                assert value[key] == pytest.approx(b[name][key]) if key != "unit" else value[key] == b[name][key]
        elif name in ("reference_energies", "energy_residual_rms"):
            assert value == pytest.approx(b[name], abs=1e-8)
        else:
            assert value == b[name]


def test_json_and_back(build, mixed):
    stats = dataset_statistics(open_dataset(build(mixed)))
    read = json.loads(json.dumps(stats.as_dict(), allow_nan=False))
    assert read["force_norm"]["unit"] == "eV/Å"
    assert read["shortest_distances"]["H-O"]["id"].startswith("m-")


def test_numbers_that_are_not_finite_are_counted_and_left_out(build, mixed):
    bad = mixed[1].with_(id="bad", labels=replace(mixed[1].labels, energy=float("nan")))
    forces = mixed[2].labels.forces.copy()
    forces[0, 0] = np.inf
    worse = mixed[2].with_(id="worse", labels=replace(mixed[2].labels, forces=forces))
    stats = dataset_statistics(open_dataset(build([*mixed, bad, worse])))
    assert stats.not_finite == 2
    assert stats.energy_per_atom.count == len(mixed) + 1
    assert np.isfinite(list(stats.reference_energies.values())).all()
    assert np.isfinite(stats.force_norm.largest)


def test_ids_that_occur_twice(build, mixed):
    stats = dataset_statistics(open_dataset(build([*mixed, mixed[3], mixed[3], mixed[5]])))
    assert stats.duplicate_ids == 3
    assert stats.duplicate_id_examples == ("m-3", "m-5")


def test_without_labels_and_split(tmp_path, mixed):
    write_part(tmp_path / "part.h5", mixed)
    stats = dataset_statistics(open_dataset(tmp_path / "part.h5"))
    assert (stats.labelled, stats.splits, stats.reference_energies) == (0, {}, {})
    assert stats.energy_per_atom is stats.force_norm is stats.pressure is stats.energy_residual_rms is None
    assert stats.neighbors is not None
    json.dumps(stats.as_dict(), allow_nan=False)


def test_no_structures(tmp_path):
    write_part(tmp_path / "part.h5", [], [Refused("odd", stage="label")], labelled=True)
    merge([tmp_path / "part.h5"], tmp_path / "empty.h5", attributes={})
    stats = dataset_statistics(open_dataset(tmp_path / "empty.h5"))
    assert (stats.structures, stats.atoms, stats.sizes, stats.element_entropy_bits) == (0, 0, None, 0.0)
    assert stats.refused == {"label": {"odd": 1}}


def test_a_damaged_file_is_an_error(build, mixed):
    path = build(mixed)
    position = path.read_bytes().find(np.float32(mixed[0].positions).tobytes())
    with path.open("r+b") as file:
        file.seek(position)
        file.write(b"\x01")
    with pytest.raises(DatasetError, match="positions differs from its checksum"):
        dataset_statistics(open_dataset(path))


def test_moments_add_up():
    values = np.random.default_rng(0).normal(1e6, 1.0, 1000)
    total = sum((Moments.of(part) for part in np.split(values, [1, 1, 400])), Moments())
    assert (total.count, total.smallest, total.largest) == (1000, values.min(), values.max())
    assert total.mean == pytest.approx(values.mean(), rel=1e-12)
    assert total.squares == pytest.approx(((values - values.mean()) ** 2).sum(), rel=1e-9)
