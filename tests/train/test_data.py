"""Training batches: what they hold, and that the loader gives all of them, goes on where it was, and fails aloud."""

import threading
import time

import numpy as np
import pytest
import torch

from potstill.core.batch import make_batch
from potstill.dataset import Dataset, Records, merge, write_part
from potstill.train import data as module
from potstill.train.data import LabelledStructures, Loader
from potstill.train.sampler import BatchSampler


@pytest.fixture
def records(labelled) -> Records:
    return Records.of(labelled)


def loader_of(records: Records, size: int = 2) -> Loader:
    data = LabelledStructures(records, 3.5)
    return Loader(data, BatchSampler(data.sizes, size, seed=1))


def same(one, other) -> bool:
    return torch.equal(one.inputs.positions, other.inputs.positions) and torch.equal(one.energy, other.energy)


def test_a_batch_holds_the_labels_of_its_structures(labelled, records):
    batch = LabelledStructures(records, 3.5)[[2, 0]]  # water, then copper
    water, copper = labelled[2], labelled[0]
    assert batch.inputs.ptr.tolist() == [0, 3, 7]
    assert batch.energy.tolist() == [water.labels.energy, copper.labels.energy]
    assert np.allclose(batch.forces, np.concatenate([water.labels.forces, copper.labels.forces]), atol=1e-6)
    assert batch.has_stress.tolist() == [False, True]
    assert np.allclose(batch.stress[1], copper.labels.stress, atol=1e-6)
    assert batch.stress[0].abs().max() == 0


@pytest.mark.parametrize("cache_bytes", [0, 500, 10**6])
def test_a_batch_is_that_of_the_structures_whether_its_neighbours_were_kept_or_not(labelled, records, cache_bytes):
    data = LabelledStructures(records, 3.5, cache_bytes=cache_bytes)
    assert (data.cached > 0) == (cache_bytes > 0)
    assert (data.cached == len(data)) == (cache_bytes > 1000)
    chosen = list(range(len(labelled)))[::-1]
    found, expected = data[chosen].inputs, make_batch([labelled[k] for k in chosen], 3.5)
    for name in ("atomic_numbers", "positions", "cell", "ptr", "structure", "edge_index", "edge_shift", "periodic"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name


def test_a_file_gives_what_memory_gives(labelled, records, tmp_path):
    write_part(tmp_path / "part.h5", labelled, labelled=True)
    splits = np.array([0, 1] * (len(labelled) // 2), np.uint8)
    merge([tmp_path / "part.h5"], tmp_path / "dataset.h5", attributes={}, splits=splits)
    file = LabelledStructures(Dataset(tmp_path / "dataset.h5").select("valid"), 3.5)
    memory = LabelledStructures(records.gather(np.flatnonzero(splits)), 3.5)
    assert len(file) == len(memory) == len(labelled) // 2
    found, expected = file[[3, 0]], memory[[3, 0]]
    assert torch.allclose(found.inputs.positions, expected.inputs.positions, atol=1e-6)
    assert torch.equal(found.inputs.edge_index, expected.inputs.edge_index)
    assert torch.equal(found.energy, expected.energy)
    assert torch.allclose(found.stress, expected.stress)


def test_batch_moves_whole(records):
    batch = LabelledStructures(records, 3.5)[[0, 1]]
    moved = batch.to("meta")
    assert {moved.energy.device.type, moved.forces.device.type, moved.inputs.positions.device.type} == {"meta"}


def test_sizes_and_edges_per_atom(labelled, records, monkeypatch):
    monkeypatch.setattr(module, "STRUCTURES_AT_ONCE", 3)
    data = LabelledStructures(records, 3.5)
    assert data.sizes.tolist() == [len(s) for s in labelled]
    assert data.edges_per_atom[2] == 2.0  # each atom of water sees the two others
    assert data.edges_per_atom[0] == make_batch(labelled[:1], 3.5).edge_index.shape[1] / len(labelled[0])


def test_a_loader_gives_the_batches_of_its_epoch(records):
    loader = loader_of(records)
    for epoch in (0, 5):
        loader.epoch = epoch
        given = list(loader)
        assert len(given) == len(loader) == len(records) // 2
        expected = BatchSampler(np.diff(records.ptr), 2, seed=1).of_epoch(epoch)
        for batch, indices in zip(given, expected, strict=True):
            assert batch.energy.tolist() == records.energy[indices].tolist()


@pytest.mark.parametrize("given", [0, 1, 4, 6])
def test_a_loader_goes_on_where_it_was(records, given):
    whole, cut, resumed = (loader_of(records) for _ in range(3))
    whole.epoch = cut.epoch = 3
    expected = list(whole)
    walking = iter(cut)
    for k in range(given):
        assert same(next(walking), expected[k])
    resumed.load_state_dict(cut.state_dict())
    assert resumed.epoch == 3
    rest = list(resumed)
    wanted = expected[given:] or expected  # after the last batch comes an epoch
    assert len(rest) == len(wanted)
    assert all(same(a, b) for a, b in zip(rest, wanted, strict=True))


def test_a_fault_is_raised_where_batches_are_taken(records):
    class Broken(LabelledStructures):
        def __getitem__(self, indices):
            raise OSError(5, "the disk has gone")

    data = Broken(records, 3.5)
    with pytest.raises(OSError, match="the disk has gone"):
        list(Loader(data, BatchSampler(data.sizes, 2, seed=1)))
    assert not [t for t in threading.enumerate() if t.name == "batches"]


def test_a_loader_that_is_left_leaves_no_thread(records):
    walking = iter(loader_of(records, size=1))
    next(walking)
    walking.close()
    deadline = time.monotonic() + 10
    while any(t.name == "batches" for t in threading.enumerate()):
        assert time.monotonic() < deadline
