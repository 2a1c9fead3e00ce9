"""Training batches and their order."""

import numpy as np
import pytest
import torch

from potstill.train.data import BucketBatches, LabelledStructures

EDGES = np.random.default_rng(0).uniform(0, 60, 101)


@pytest.mark.parametrize("size", [1, 4, 16, 101, 500])
def test_each_structure_once_per_epoch(size):
    batches = BucketBatches(EDGES, size, seed=1)
    for epoch in range(3):
        batches.set_epoch(epoch)
        drawn = list(batches)
        assert sorted(k for batch in drawn for k in batch) == list(range(len(EDGES)))
        assert len(drawn) == len(batches)
        assert max(map(len, drawn)) <= size


def test_order_is_that_of_the_epoch_however_it_was_reached():
    walked, jumped = BucketBatches(EDGES, 8, seed=1), BucketBatches(EDGES, 8, seed=1)
    for epoch in range(4):
        walked.set_epoch(epoch)
        last = list(walked)
    jumped.set_epoch(3)
    assert list(jumped) == last == list(walked)


def test_order_differs_between_epochs_and_seeds():
    batches, other = BucketBatches(EDGES, 8, seed=1), BucketBatches(EDGES, 8, seed=2)
    first = list(batches)
    assert first != list(other)
    batches.set_epoch(1)
    assert first != list(batches)
    assert {frozenset(b) for b in first} != {frozenset(b) for b in batches}


def test_like_structures_share_a_batch():
    """Within batches the numbers of neighbours spread less than they would by chance."""
    batches = list(BucketBatches(EDGES, 8, seed=1))
    spread = np.mean([EDGES[b].std() for b in batches if len(b) > 1])
    assert spread < 0.5 * EDGES.std()


def test_order_leaves_the_global_random_numbers_alone():
    state, legacy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    list(BucketBatches(EDGES, 8, seed=1))
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], legacy)  # noqa: NPY002


def test_a_batch_holds_the_labels_of_its_structures(labelled):
    data = LabelledStructures(labelled, 3.5)
    batch = data[[2, 0]]  # water, then copper
    water, copper = labelled[2], labelled[0]
    assert batch.inputs.ptr.tolist() == [0, 3, 7]
    assert batch.energy.tolist() == [water.labels.energy, copper.labels.energy]
    assert np.allclose(batch.forces, np.concatenate([water.labels.forces, copper.labels.forces]), atol=1e-6)
    assert batch.has_stress.tolist() == [False, True]
    assert np.allclose(batch.stress[1], copper.labels.stress, atol=1e-6)
    assert batch.stress[0].abs().max() == 0


def test_batch_moves_whole(labelled):
    batch = LabelledStructures(labelled, 3.5)[[0, 1]]
    moved = batch.to("meta")
    assert {moved.energy.device.type, moved.forces.device.type, moved.inputs.positions.device.type} == {"meta"}


def test_edges_per_atom(labelled):
    data = LabelledStructures(labelled, 3.5)
    assert len(data) == len(data.edges_per_atom) == len(labelled)
    assert data.edges_per_atom[2] == 2.0  # each atom of water sees the two others
