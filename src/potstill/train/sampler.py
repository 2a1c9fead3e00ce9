"""Composition and order of batches: a pure function of seed and epoch.

Structures are divided into strata of similar size, with one structure per batch in each. Every batch gets one structure of
each stratum. The number of batches is therefore the same in every epoch, and all are of nearly the same size. The largest
sizes of the strata add up to a bound that no shuffle can exceed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from potstill.core.types import Array


class BatchSampler:
    """Division of S structures into batches: index arrays for each epoch, with every structure in one of them.

    Parameters
    ----------
    sizes
        (S,) atoms of each structure.
    batch_structures
        Largest number of structures in a batch.
    batch_atoms
        Largest number of atoms in a batch, or None; a larger structure has a batch of its own.
    neighbors
        (S,) mean number of neighbors, for a student that pads to the largest number in a batch: structures with similar
        numbers share a batch then. None mixes all.
    seed
        Seed of the order, together with the number of the epoch.
    part
        Part of every batch that this process has, which begins with the largest structure; whole batches by default.
    drawn
        First of the structures that are drawn anew in each epoch, and how many of them are in it. They reach from there to
        the last one. None: all structures are in each epoch. Structures with different ``neighbors`` share a batch then.
    """

    NEIGHBOR_CLASSES = 8

    def __init__(
        self,
        sizes: Array,
        batch_structures: int,
        *,
        batch_atoms: int | None = None,
        neighbors: Array | None = None,
        seed: int = 0,
        part: slice = slice(None),
        drawn: tuple[int, int] | None = None,
    ) -> None:
        self._seed, self._part, self._sizes = seed, part, sizes
        limit = math.inf if batch_atoms is None else batch_atoms
        always = np.arange(len(sizes)) < (len(sizes) if drawn is None else drawn[0])
        alone = np.flatnonzero(always & (sizes > limit))
        rest = np.flatnonzero(always & (sizes <= limit))
        self._pool = np.flatnonzero(~always & (sizes <= limit))
        self._drawn = 0 if drawn is None else min(drawn[1], len(self._pool))
        classes = [rest]
        if drawn is None and neighbors is not None and len(rest) > self.NEIGHBOR_CLASSES * batch_structures:
            classes = np.array_split(rest[np.argsort(neighbors[rest], kind="stable")], self.NEIGHBOR_CLASSES)
        largest = np.sort(sizes[self._pool])[::-1][: self._drawn]  # no draw has larger ones
        counts = [_least_batches(np.append(sizes[members], largest), batch_structures, limit) for members in classes]
        self._classes = list(zip(classes, counts, strict=True))
        self._classes.append((alone, len(alone)))

    def __len__(self) -> int:
        return sum(count for _, count in self._classes)

    def of_epoch(self, epoch: int) -> Iterator[Array]:
        """Yield the indices of this process' part of each batch; empty where a batch has fewer structures than processes."""
        rng = np.random.default_rng([self._seed, epoch])
        classes = self._classes
        if self._drawn:
            (members, count), *others = classes
            classes = [(np.append(members, rng.choice(self._pool, self._drawn, replace=False)), count), *others]
        dealt = [batch for members, count in classes for batch in self._deal(members, count, rng)]
        order = rng.permutation(len(dealt))
        return (dealt[k][self._part] for k in order)  # a batch goes from large to small

    def _deal(self, members: Array, count: int, rng: np.random.Generator) -> list[Array]:
        if count == 0:
            return []
        shuffled = rng.permutation(members)
        ranked = shuffled[np.argsort(-self._sizes[shuffled], kind="stable")]
        batch = np.concatenate([rng.permutation(count) for _ in range(0, len(ranked), count)])[: len(ranked)]
        by_batch = ranked[np.argsort(batch, kind="stable")]
        return np.split(by_batch, np.cumsum(np.bincount(batch, minlength=count))[:-1])


def _least_batches(sizes: Array, batch_structures: int, batch_atoms: float) -> int:
    """Return the smallest number of batches that keeps both limits for every shuffle."""
    if len(sizes) == 0:
        return 0
    descending = np.sort(sizes)[::-1]
    count = max(math.ceil(len(sizes) / batch_structures), math.ceil(sizes.sum() / batch_atoms))
    while descending[::count].sum() > batch_atoms:  # one of each stratum, each the largest
        count += max(1, count // 64)
    return count
