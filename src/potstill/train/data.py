"""Training batches: a dataset's structures with their neighbour lists and labels, in buckets of like size."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from potstill.neighbors import structure_neighbors
from potstill.student.batch import make_batch
from potstill.types import Array, Batch, Structure

BUCKET_BATCHES = 8


@dataclass(frozen=True, slots=True, eq=False)
class LabelledBatch:
    """A batch with its labels.

    Parameters
    ----------
    inputs
        What the student takes.
    energy
        (S,) eV, float64.
    forces
        (N, 3) eV/Å.
    stress
        (S, 3, 3) eV/Å^3, zero where ``has_stress`` is False.
    has_stress
        (S,) bool.
    """

    inputs: Batch
    energy: torch.Tensor
    forces: torch.Tensor
    stress: torch.Tensor
    has_stress: torch.Tensor

    def to(self, device: torch.device | str) -> LabelledBatch:
        """Copy on another device (Lightning calls it)."""
        labels = {name: getattr(self, name).to(device) for name in ("energy", "forces", "stress", "has_stress")}
        return LabelledBatch(inputs=self.inputs.to(device), **labels)


class LabelledStructures(torch.utils.data.Dataset[LabelledBatch]):
    """Structures whose neighbour lists were made once; an item is a whole batch, asked for by its indices."""

    def __init__(self, structures: Sequence[Structure], cutoff_angstrom: float) -> None:
        self.structures = list(structures)
        self.cutoff = cutoff_angstrom
        self._neighbors = [structure_neighbors(s, cutoff_angstrom) for s in self.structures]

    def __len__(self) -> int:
        return len(self.structures)

    @property
    def edges_per_atom(self) -> Array:
        """(S,) mean number of neighbours, by which batches are put together."""
        return np.array([len(n.distance) / len(s) for n, s in zip(self._neighbors, self.structures, strict=True)])

    def __getitem__(self, indices: Sequence[int]) -> LabelledBatch:
        chosen = [self.structures[i] for i in indices]
        labels = [s.labels for s in chosen if s.labels is not None]
        stress = [np.zeros((3, 3)) if x.stress is None else x.stress for x in labels]
        return LabelledBatch(
            inputs=make_batch(chosen, self.cutoff, neighbors=[self._neighbors[i] for i in indices]),
            energy=torch.tensor([x.energy for x in labels], dtype=torch.float64),
            forces=torch.from_numpy(np.concatenate([x.forces for x in labels])).float(),
            stress=torch.from_numpy(np.stack(stress)).float(),
            has_stress=torch.tensor([x.stress is not None for x in labels]),
        )


class BucketBatches(torch.utils.data.Sampler[list[int]]):
    """Index lists, shuffled anew by each epoch's own random numbers, so that a resumed run sees the same batches.

    Structures with a like number of neighbours share a batch: the student pads neighbours to the fullest atom's.

    Parameters
    ----------
    edges_per_atom
        (S,) of the structures to draw from.
    size
        Structures in a batch.
    seed
        With the epoch's number it gives the order.
    """

    def __init__(self, edges_per_atom: Array, size: int, seed: int) -> None:
        self._edges = edges_per_atom
        self._size = size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The order of this epoch comes next (Lightning calls it)."""
        self._epoch = epoch

    def __len__(self) -> int:
        return math.ceil(len(self._edges) / self._size)

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self._seed, self._epoch])
        order = rng.permutation(len(self._edges))
        batches: list[list[int]] = []
        for start in range(0, len(order), self._size * BUCKET_BATCHES):
            chunk = order[start : start + self._size * BUCKET_BATCHES]
            chunk = chunk[np.argsort(self._edges[chunk], kind="stable")]
            batches += [chunk[k : k + self._size].tolist() for k in range(0, len(chunk), self._size)]
        yield from (batches[k] for k in rng.permutation(len(batches)))
