"""Structures in, one :class:`~potstill.types.Batch` with neighbour lists out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from potstill.neighbors import Neighbors, structure_neighbors
from potstill.types import Batch, Structure


def make_batch(
    structures: Sequence[Structure],
    cutoff_angstrom: float,
    *,
    neighbors: Sequence[Neighbors] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Batch:
    """Put structures side by side.

    Parameters
    ----------
    structures
        At least one.
    cutoff_angstrom
        Cutoff of the student.
    neighbors
        Neighbour lists made earlier with the same cutoff, one per structure; made here where None.
    dtype
        Of positions, cell and shifts.
    """
    if neighbors is None:
        neighbors = [structure_neighbors(s, cutoff_angstrom) for s in structures]
    sizes = np.array([len(s) for s in structures])
    ptr = np.concatenate([[0], np.cumsum(sizes)])
    edges = [n.edge_index + start for n, start in zip(neighbors, ptr[:-1], strict=True)]
    return Batch(
        atomic_numbers=torch.from_numpy(np.concatenate([s.atomic_numbers for s in structures]).astype(np.int64)),
        positions=torch.from_numpy(np.concatenate([s.positions for s in structures])).to(dtype),
        cell=torch.from_numpy(np.stack([s.cell for s in structures])).to(dtype),
        ptr=torch.from_numpy(ptr),
        structure=torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)),
        edge_index=torch.from_numpy(np.concatenate(edges, axis=1)),
        edge_shift=torch.from_numpy(np.concatenate([n.edge_shift for n in neighbors])).to(dtype),
        periodic=torch.tensor([bool(s.pbc.all()) for s in structures]),
    )
