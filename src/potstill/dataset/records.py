"""Structures as arrays side by side, from which training batches are made, without an object for each structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from potstill.core.errors import DatasetError
from potstill.core.types import Array, Structure


@dataclass(frozen=True, slots=True, eq=False)
class Records:
    """S labelled structures with N atoms.

    Parameters
    ----------
    ptr
        (S + 1,) int64 offsets of each structure's atoms.
    atomic_numbers
        (N,) uint8.
    positions, forces
        (N, 3) Å and eV/Å.
    cell
        (S, 3, 3) Å, rows are lattice vectors.
    pbc
        (S, 3) bool.
    energy
        (S,) eV.
    stress
        (S, 3, 3) eV/Å^3, zero where ``has_stress`` is False.
    has_stress
        (S,) bool.
    extra
        Further quantities of each atom, by name: (N, …) arrays.
    """

    ptr: Array
    atomic_numbers: Array
    positions: Array
    forces: Array
    cell: Array
    pbc: Array
    energy: Array
    stress: Array
    has_stress: Array
    extra: Mapping[str, Array] = field(default_factory=dict)

    @classmethod
    def of(cls, structures: Sequence[Structure]) -> Records:
        """Return the arrays of labelled structures.

        Raises
        ------
        DatasetError
            If one has no labels.
        """
        labels = [s.labels for s in structures if s.labels is not None]
        if len(labels) < len(structures):
            raise DatasetError(f"{len(structures) - len(labels)} of {len(structures)} structures have no labels")
        return cls(
            ptr=np.cumsum([0, *map(len, structures)], dtype=np.int64),
            atomic_numbers=_joined([s.atomic_numbers for s in structures], (), np.uint8),
            positions=_joined([s.positions for s in structures], (3,)),
            forces=_joined([x.forces for x in labels], (3,)),
            cell=_joined([s.cell[None] for s in structures], (3, 3)),
            pbc=_joined([s.pbc[None] for s in structures], (3,), bool),
            energy=np.array([x.energy for x in labels], dtype=np.float64),
            stress=_joined([np.zeros((1, 3, 3)) if x.stress is None else x.stress[None] for x in labels], (3, 3)),
            has_stress=np.array([x.stress is not None for x in labels], dtype=bool),
            extra={name: np.concatenate([x.extra[name] for x in labels]) for name in labels[0].extra} if labels else {},
        )

    def __len__(self) -> int:
        return len(self.ptr) - 1

    @classmethod
    def join(cls, parts: Sequence[Records]) -> Records:
        """Return several records joined one after another; at least one is required."""
        names = ("atomic_numbers", "positions", "forces", "cell", "pbc", "energy", "stress", "has_stress")
        sizes = np.concatenate([np.diff(part.ptr) for part in parts])
        return cls(
            ptr=np.concatenate([[0], np.cumsum(sizes)]),
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names},
            extra={name: np.concatenate([part.extra[name] for part in parts]) for name in parts[0].extra},
        )

    def gather(self, indices: Array) -> Records:
        """Return the records of some structures, in the order of the indices."""
        ptr, atoms = atoms_of(self.ptr, indices)
        per_atom = {name: getattr(self, name).take(atoms, axis=0) for name in ("atomic_numbers", "positions", "forces")}
        rest = ("cell", "pbc", "energy", "stress", "has_stress")
        extra = {name: rows.take(atoms, axis=0) for name, rows in self.extra.items()}
        return Records(ptr=ptr, **per_atom, **{n: getattr(self, n).take(indices, axis=0) for n in rest}, extra=extra)


class RecordSource(Protocol):
    """A container that gathers records: :class:`Records`, or a :class:`~potstill.dataset.Selection` of a file."""

    def __len__(self) -> int: ...

    def gather(self, indices: Array) -> Records:
        """Return the records of these indices."""
        ...


def parts_of(sources: Sequence[RecordSource], starts: Array, indices: Array) -> tuple[list[Records], Array]:
    """Gather records from sources that lie one after the other.

    Parameters
    ----------
    sources
        Sources.
    starts
        (k,) index of the first record of each among all.
    indices
        (S,) records among all, in any order.

    Returns
    -------
    parts, places
        Records of each source that has some, and the (S,) places of the records in the order of the indices, once the parts
        are joined.
    """
    source = np.searchsorted(starts, indices, side="right") - 1
    order = np.argsort(source, kind="stable")
    parts = [sources[k].gather(indices[source == k] - starts[k]) for k in np.unique(source)]
    return parts, np.argsort(order)


def in_range(indices: Array, length: int) -> Array:
    """Return (k,) int64 indices; raise IndexError if one is negative or not below the length."""
    indices = np.asarray(indices, dtype=np.int64)
    if len(indices) and (indices.min() < 0 or indices.max() >= length):
        raise IndexError(f"indices must be from 0 to {length - 1}")
    return indices


def atoms_of(ptr: Array, indices: Array) -> tuple[Array, Array]:
    """Return offsets and rows of the atoms of some structures.

    Parameters
    ----------
    ptr
        (S + 1,) offsets of all structures' atoms.
    indices
        (k,) structures.

    Returns
    -------
    ptr, rows
        (k + 1,) offsets among the rows, and the rows themselves.
    """
    start = ptr.take(indices)
    sizes = ptr.take(indices + 1) - start
    chosen = np.zeros(len(indices) + 1, dtype=np.int64)
    np.cumsum(sizes, out=chosen[1:])
    return chosen, np.arange(chosen[-1]) + np.repeat(start - chosen[:-1], sizes)


def _joined(items: list[Array], shape: tuple[int, ...], dtype: type = np.float64) -> Array:
    return np.concatenate([np.zeros((0, *shape), dtype), *items]).astype(dtype, copy=False)
