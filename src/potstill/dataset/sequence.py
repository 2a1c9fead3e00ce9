"""Base of all datasets, of one file or many: a sequence of structures that is indexed, gathered, split and batched."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np

from potstill.core.types import Array, Batch, Structure
from potstill.dataset.records import Records


class StructureSequence(Sequence[Structure], ABC):
    """Sequence of structures in files; a subclass implements reading of one and of many structures."""

    @property
    @abstractmethod
    def ids(self) -> Array:
        """Return (S,) str, the id of each structure."""

    @property
    @abstractmethod
    def sources(self) -> Array:
        """Return (S,) str, the source of each structure."""

    @property
    @abstractmethod
    def families(self) -> Array:
        """Return (S,) str, the family of each structure."""

    @property
    @abstractmethod
    def labelled(self) -> bool:
        """Return whether there are labels."""

    @abstractmethod
    def gather(self, indices: Array) -> Records:
        """Return labelled structures as arrays side by side, copied from the file at once.

        Parameters
        ----------
        indices
            (k,) int, none of them negative.

        Raises
        ------
        DatasetError
            If there are no labels, or a block differs from its checksum.
        IndexError
            If an index is out of range.
        """

    @abstractmethod
    def split(self, part: str) -> Array:
        """Return the indices of ``"train"``, ``"valid"`` or ``"test"``.

        Raises
        ------
        InputError
            If the name is not one of these.
        DatasetError
            If there is no split.
        """

    @abstractmethod
    def _structure(self, k: int) -> Structure:
        """Return structure k, counted from 0."""

    @overload
    def __getitem__(self, index: int) -> Structure: ...
    @overload
    def __getitem__(self, index: slice | Array | Sequence[int]) -> list[Structure]: ...
    def __getitem__(self, index: int | slice | Array | Sequence[int]) -> Structure | list[Structure]:
        if isinstance(index, slice):
            return [self._structure(k) for k in range(*index.indices(len(self)))]
        if isinstance(index, Sequence | np.ndarray):
            return [self[int(k)] for k in self._chosen(np.asarray(index))]
        return self._structure(range(len(self))[index])  # IndexError and negative indices as any sequence has them

    def __iter__(self) -> Iterator[Structure]:
        return (self._structure(k) for k in range(len(self)))

    def _chosen(self, index: Array) -> Array:
        """Return the indices for a list of indices or a mask."""
        if index.dtype == bool:
            if index.shape != (len(self),):
                raise IndexError(f"a mask of {len(self)} structures is needed, found one of shape {index.shape}")
            return np.flatnonzero(index)
        return index.astype(np.int64, casting="same_kind") if index.size else np.zeros(0, np.int64)

    def select(self, part: str) -> Selection:
        """Return the selection of ``"train"``, ``"valid"`` or ``"test"``; errors are those of :meth:`split`."""
        return Selection(self, self.split(part))

    def batch(self, indices: Sequence[int], cutoff_angstrom: float = 5.0) -> Batch:
        """Return a batch with neighbor lists for a student with that cutoff in Å."""
        from potstill.core.batch import make_batch

        return make_batch([self[int(k)] for k in indices], cutoff_angstrom)


class Selection:
    """Some structures of a dataset, to gather from.

    Parameters
    ----------
    dataset
        Dataset with labels.
    indices
        (S,) structures of the dataset.
    """

    def __init__(self, dataset: StructureSequence, indices: Array) -> None:
        self._dataset = dataset
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    def gather(self, indices: Array) -> Records:
        """Return the records of these positions in the selection."""
        return self._dataset.gather(self._indices.take(indices))
