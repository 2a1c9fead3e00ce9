"""Batches: offsets, edges and what one structure knows of another."""

import numpy as np
import pytest
import torch

from potstill.core.batch import displaced, displaced_both_ways, make_batch
from potstill.core.neighbors import structure_neighbors
from potstill.testing import all_structures, lone_crystal, one_atom, rocksalt, slab, triclinic, water

CUTOFF = 4.0


def test_offsets_and_structures():
    batch = make_batch([water(), one_atom(), rocksalt()], CUTOFF)
    assert len(batch) == 3
    assert batch.ptr.tolist() == [0, 3, 4, 6]
    assert batch.structure.tolist() == [0, 0, 0, 1, 2, 2]
    assert batch.atomic_numbers.tolist() == [8, 1, 1, 18, 11, 17]
    assert batch.periodic.tolist() == [False, False, True]


def test_edges_stay_within_their_structure_and_are_sorted_by_receiver():
    batch = make_batch(all_structures(), CUTOFF)
    receiver, sender = batch.edge_index
    assert torch.equal(batch.structure[receiver], batch.structure[sender])
    assert (receiver.diff() >= 0).all()


def test_edge_vectors_follow_the_formula():
    batch = make_batch([triclinic(), slab(), water()], CUTOFF, dtype=torch.float64)
    receiver, sender = batch.edge_index
    shift = (batch.edge_shift[:, None, :] @ batch.cell[batch.structure[receiver]]).squeeze(1)
    expected = batch.positions[sender] + shift - batch.positions[receiver]
    assert torch.allclose(batch.edge_vectors, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("far", [30.0, 3e3, 1e5])
@pytest.mark.parametrize("compact", [False, True], ids=["neighbors", "edges of the training data"])
def test_edge_vectors_in_float32_do_not_know_where_the_origin_is(far, compact):
    here = [water(), triclinic()]
    there = [s.with_(positions=s.positions + np.array([far, -2 * far, far])) for s in here]
    found = [structure_neighbors(s, CUTOFF) for s in here]
    moved = [n.compact() if compact else structure_neighbors(s, CUTOFF) for n, s in zip(found, there, strict=True)]
    before, after = (
        make_batch(structures, CUTOFF, neighbors=lists) for structures, lists in ((here, found), (there, moved))
    )
    pairs = [np.lexsort(np.vstack([b.edge_index.numpy(), b.edge_shift.numpy().T])) for b in (before, after)]
    assert torch.allclose(after.edge_vectors[pairs[1]], before.edge_vectors[pairs[0]], rtol=0, atol=1e-6)


def test_displaced_atoms_take_their_edges_with_them():
    structures = [water(), triclinic()]
    batch = make_batch(structures, CUTOFF, dtype=torch.float64)
    by = 0.1 * torch.randn(batch.positions.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    moved = [s.with_(positions=s.positions + by[batch.structure == k].numpy()) for k, s in enumerate(structures)]
    lists = [structure_neighbors(s, CUTOFF).compact() for s in structures]  # the neighbors stay those of before
    expected = make_batch(moved, CUTOFF, neighbors=lists, dtype=torch.float64)
    found = displaced(batch, by)
    for name in type(batch).__dataclass_fields__:
        assert torch.allclose(getattr(found, name).double(), getattr(expected, name).double(), rtol=0, atol=1e-12), name


def test_atoms_displaced_both_ways_are_two_batches_side_by_side():
    structures = [water(), triclinic()]
    batch = make_batch(structures, CUTOFF, dtype=torch.float64)
    by = 0.1 * torch.randn(batch.positions.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    moved = [
        s.with_(positions=s.positions + sign * by[batch.structure == k].numpy())
        for sign in (1, -1)
        for k, s in enumerate(structures)
    ]
    lists = [structure_neighbors(s, CUTOFF).compact() for s in structures]
    expected = make_batch(moved, CUTOFF, neighbors=[*lists, *lists], dtype=torch.float64)
    found = displaced_both_ways(batch, by)
    for name in type(batch).__dataclass_fields__:
        assert torch.allclose(getattr(found, name).double(), getattr(expected, name).double(), rtol=0, atol=1e-12), name


def test_neighbours_made_earlier_give_the_same_batch():
    structures = [water(), triclinic()]
    made = make_batch(structures, CUTOFF, neighbors=[structure_neighbors(s, CUTOFF) for s in structures])
    plain = make_batch(structures, CUTOFF)
    for name in type(plain).__dataclass_fields__:
        assert torch.equal(getattr(made, name), getattr(plain, name)), name


def test_structures_without_neighbours():
    batch = make_batch([one_atom(), lone_crystal()], CUTOFF)
    assert batch.edge_index.shape == (2, 0)
    assert batch.edge_shift.shape == batch.edge_vectors.shape == (0, 3)
    assert batch.edge_index.dtype == torch.int64


def test_dtype_and_to_change_floats_only():
    batch = make_batch([triclinic()], CUTOFF)
    exact = batch.to(dtype=torch.float64)
    assert batch.positions.dtype == batch.edge_vectors.dtype == torch.float32
    assert {x.dtype for x in (exact.positions, exact.cell, exact.edge_shift, exact.edge_vectors)} == {torch.float64}
    assert exact.atomic_numbers.dtype == exact.edge_index.dtype == torch.int64
    assert torch.equal(exact.edge_index, batch.edge_index)
