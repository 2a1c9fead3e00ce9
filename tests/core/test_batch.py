"""Batches: offsets, edges and what one structure knows of another."""

import numpy as np
import torch

from potstill.core.batch import make_batch
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


def test_edge_vectors_are_the_distances_of_the_neighbour_list():
    structures = [triclinic(), slab()]
    batch = make_batch(structures, CUTOFF, dtype=torch.float64)
    receiver, sender = batch.edge_index
    shift = (batch.edge_shift[:, None, :] @ batch.cell[batch.structure[receiver]]).squeeze(1)
    found = (batch.positions[sender] + shift - batch.positions[receiver]).norm(dim=1).numpy()
    expected = np.concatenate([structure_neighbors(s, CUTOFF).distance for s in structures])
    assert np.allclose(found, expected, rtol=0, atol=1e-12)


def test_neighbours_made_earlier_give_the_same_batch():
    structures = [water(), triclinic()]
    made = make_batch(structures, CUTOFF, neighbors=[structure_neighbors(s, CUTOFF) for s in structures])
    plain = make_batch(structures, CUTOFF)
    for name in type(plain).__dataclass_fields__:
        assert torch.equal(getattr(made, name), getattr(plain, name)), name


def test_structures_without_neighbours():
    batch = make_batch([one_atom(), lone_crystal()], CUTOFF)
    assert batch.edge_index.shape == (2, 0)
    assert batch.edge_shift.shape == (0, 3)
    assert batch.edge_index.dtype == torch.int64


def test_dtype_and_to_change_floats_only():
    batch = make_batch([triclinic()], CUTOFF)
    exact = batch.to(dtype=torch.float64)
    assert batch.positions.dtype == torch.float32
    assert exact.positions.dtype == exact.cell.dtype == exact.edge_shift.dtype == torch.float64
    assert exact.atomic_numbers.dtype == exact.edge_index.dtype == torch.int64
    assert torch.equal(exact.edge_index, batch.edge_index)
