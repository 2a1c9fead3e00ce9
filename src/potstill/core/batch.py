"""Functions that make one :class:`~potstill.core.types.Batch` with neighbor lists from structures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from potstill.core.neighbors import Edges, measured_vectors, structure_neighbors
from potstill.core.types import Array, Batch, Structure


def make_batch(
    structures: Sequence[Structure],
    cutoff_angstrom: float,
    *,
    neighbors: Sequence[Edges] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Batch:
    """Return one batch with the structures side by side.

    Parameters
    ----------
    structures
        At least one.
    cutoff_angstrom
        Cutoff of the student.
    neighbors
        Neighbor lists made earlier for these positions with the same cutoff, one per structure; made here where None.
    dtype
        Precision of positions, cell, shifts and vectors.
    """
    if neighbors is None:
        neighbors = [structure_neighbors(s, cutoff_angstrom) for s in structures]
    return join(
        np.cumsum([0, *map(len, structures)]),
        np.concatenate([s.atomic_numbers for s in structures]),
        np.concatenate([s.positions for s in structures]),
        np.stack([s.cell for s in structures]),
        np.stack([s.pbc for s in structures]),
        neighbors,
        dtype=dtype,
    )


def join(
    ptr: Array,
    atomic_numbers: Array,
    positions: Array,
    cell: Array,
    pbc: Array,
    edges: Sequence[Edges],
    *,
    dtype: torch.dtype = torch.float32,
) -> Batch:
    """Return a batch of S structures and N atoms from their arrays.

    Parameters
    ----------
    ptr
        (S + 1,) int64 offsets of each structure's atoms.
    atomic_numbers, positions
        (N,) and (N, 3) Å.
    cell, pbc
        (S, 3, 3) Å and (S, 3).
    edges
        Neighbor list of each structure. :class:`~potstill.core.neighbors.Neighbors` bring their vectors along, those of
        plain :class:`~potstill.core.neighbors.Edges` are measured here.
    dtype
        Precision of positions, cell, shifts and vectors.
    """
    sizes = np.diff(ptr)
    counts = [e.edge_index.shape[1] for e in edges]
    index = np.concatenate([np.zeros((2, 0), np.int64), *(e.edge_index for e in edges)], axis=1, dtype=np.int64)
    index += np.repeat(ptr[:-1], counts)
    shift = np.concatenate([np.zeros((0, 3), np.int8), *(e.edge_shift for e in edges)])
    of_structure = zip(edges, ptr[:-1], ptr[1:], cell, strict=True)
    vectors = [measured_vectors(e, positions[start:end], rows) for e, start, end, rows in of_structure]
    return Batch(
        atomic_numbers=torch.from_numpy(atomic_numbers.astype(np.int64)),
        positions=torch.from_numpy(positions).to(dtype),
        cell=torch.from_numpy(cell).to(dtype),
        ptr=torch.from_numpy(ptr),
        structure=torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)),
        edge_index=torch.from_numpy(index),
        edge_shift=torch.from_numpy(shift).to(dtype),
        edge_vectors=torch.from_numpy(np.concatenate([np.zeros((0, 3)), *vectors])).to(dtype),
        periodic=torch.from_numpy(pbc.all(axis=1)),
    )


def displaced(batch: Batch, by: torch.Tensor) -> Batch:
    """Return a batch with its atoms moved by (N, 3) Å and the neighbors that it has; the vectors of its edges follow."""
    receiver, sender = batch.edge_index
    return replace(batch, positions=batch.positions + by, edge_vectors=batch.edge_vectors + by[sender] - by[receiver])


def displaced_both_ways(batch: Batch, by: torch.Tensor) -> Batch:
    """Return a batch of 2 S structures: all with their atoms moved by (N, 3) Å, then all with them moved the other way."""
    n_atoms, n_structures = len(batch.atomic_numbers), len(batch)
    ahead, behind = displaced(batch, by), displaced(batch, -by)
    return Batch(
        atomic_numbers=batch.atomic_numbers.repeat(2),
        positions=torch.cat([ahead.positions, behind.positions]),
        cell=batch.cell.repeat(2, 1, 1),
        ptr=torch.cat([batch.ptr, batch.ptr[1:] + n_atoms]),
        structure=torch.cat([batch.structure, batch.structure + n_structures]),
        edge_index=torch.cat([batch.edge_index, batch.edge_index + n_atoms], dim=1),
        edge_shift=batch.edge_shift.repeat(2, 1),
        edge_vectors=torch.cat([ahead.edge_vectors, behind.edge_vectors]),
        periodic=batch.periodic.repeat(2),
    )


def some_of(batch: Batch, chosen: torch.Tensor) -> tuple[Batch, torch.Tensor]:
    """Return some structures of a batch, in the order of the batch, and which of its atoms they have.

    Parameters
    ----------
    batch
        Batch of S structures.
    chosen
        (k,) int64 indices of structures, ascending.
    """
    taken = torch.zeros(len(batch), dtype=torch.bool, device=chosen.device).index_fill_(0, chosen, value=True)
    atoms = taken[batch.structure].nonzero().squeeze(1)
    edges = taken[batch.structure[batch.edge_index[0]]].nonzero().squeeze(1)
    place = torch.zeros_like(batch.structure).index_copy_(0, atoms, torch.arange(len(atoms), device=chosen.device))
    ptr = batch.ptr.new_zeros(len(chosen) + 1)
    torch.cumsum(batch.ptr.diff()[chosen], 0, out=ptr[1:])
    return Batch(
        atomic_numbers=batch.atomic_numbers[atoms],
        positions=batch.positions[atoms],
        cell=batch.cell[chosen],
        ptr=ptr,
        structure=torch.repeat_interleave(torch.arange(len(chosen), device=chosen.device), ptr.diff()),
        edge_index=place[batch.edge_index[:, edges]],
        edge_shift=batch.edge_shift[edges],
        edge_vectors=batch.edge_vectors[edges],
        periodic=batch.periodic[chosen],
    ), atoms
