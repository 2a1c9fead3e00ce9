"""Differences between two datasets, structure by structure; structures are matched by id, in any order.

The input is two files, the output a :class:`Difference`.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from potstill.core.errors import DatasetError
from potstill.core.types import Array
from potstill.core.units import UNITS
from potstill.dataset.blocks import BLOCK_STRUCTURES
from potstill.dataset.read import Dataset
from potstill.dataset.records import atoms_of
from potstill.dataset.schema import TEXT_COLUMNS, Column

FOLLOWS = "checksums"  # from everything else
SIZE = "number of atoms"
SPLIT = "split"


@dataclass(frozen=True, slots=True)
class Change:
    """A field that differs between two datasets.

    Parameters
    ----------
    field
        Path of the column, ``"number of atoms"``, or ``"split"``.
    structures
        Number of common structures that differ in the field.
    largest
        Largest absolute difference of a number; None for other fields, and infinity where only one side is finite.
    unit
        Unit of ``largest``.
    id
        Structure with the largest difference, or the first that differs.
    """

    field: str
    structures: int
    largest: float | None
    unit: str
    id: str


@dataclass(frozen=True, slots=True)
class Difference:
    """The differences between a first and a second dataset.

    Parameters
    ----------
    common
        Number of ids in both.
    only_first, only_second
        Ids that only this dataset has.
    reordered
        Whether the common structures stand in another order.
    changes
        Fields that differ among the common structures.
    columns
        Columns that only one file has.
    attributes
        Names of the attributes that differ, with both values; "" where one has none.
    refused_only_first, refused_only_second
        Number of refusals that only this dataset has.
    """

    common: int
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    reordered: bool
    changes: tuple[Change, ...]
    columns: tuple[str, ...]
    attributes: dict[str, tuple[str, str]]
    refused_only_first: int
    refused_only_second: int

    def __bool__(self) -> bool:
        """Return whether anything differs."""
        lists = (self.only_first, self.only_second, self.changes, self.columns, self.attributes)
        return any(lists) or self.reordered or self.refused_only_first + self.refused_only_second > 0

    def as_dict(self) -> dict[str, Any]:
        """Return the differences for JSON: ``largest`` of a change is None where it is no number or is infinite."""
        facts = asdict(self)
        for change in facts["changes"]:
            change["finite"] = change["largest"] is None or math.isfinite(change["largest"])
            change["largest"] = change["largest"] if change["finite"] else None
        facts["attributes"] = {name: {"first": a, "second": b} for name, (a, b) in self.attributes.items()}
        return {"same": not self, **facts}


def diff_datasets(first: Dataset, second: Dataset) -> Difference:
    """Compare everything but the checksums, which follow from the rest; NaN equals NaN.

    Raises
    ------
    DatasetError
        If a file has an id twice, so that its structures cannot be told apart, or a block differs from its checksum.
    """
    place = _places(second)
    names = _places(first)
    ours = np.array([k for name, k in names.items() if name in place], dtype=np.int64)
    theirs = np.array([place[name] for name in names if name in place], dtype=np.int64)
    refused = Counter(first.refused), Counter(second.refused)
    return Difference(
        common=len(ours),
        only_first=tuple(name for name in names if name not in place),
        only_second=tuple(name for name in place if name not in names),
        reordered=bool((np.diff(theirs) < 0).any()),
        changes=tuple(_changes(first, second, ours, theirs)),
        columns=tuple(sorted({c.path for c in first.columns} ^ {c.path for c in second.columns}))
        + (("splits/part",) if (first.splits is None) != (second.splits is None) else ()),
        attributes={
            name: (str(first.attributes.get(name, "")), str(second.attributes.get(name, "")))
            for name in sorted({*first.attributes, *second.attributes} - {FOLLOWS})
            if first.attributes.get(name) != second.attributes.get(name)
        },
        refused_only_first=(refused[0] - refused[1]).total(),
        refused_only_second=(refused[1] - refused[0]).total(),
    )


def _places(dataset: Dataset) -> dict[str, int]:
    places = {name: k for k, name in enumerate(dataset.ids.tolist())}
    if len(places) < len(dataset):
        raise DatasetError(
            f"{dataset.path} has {len(dataset) - len(places)} ids twice, so its structures cannot be told apart\n"
            f"  see them with:  potstill dataset info {dataset.path}"
        )
    return places


def _changes(first: Dataset, second: Dataset, ours: Array, theirs: Array) -> list[Change]:
    """Compare the structures of both datasets in blocks, field by field."""
    found: dict[str, Change] = {}

    def note(field: str, unit: str, indices: Array, gap: Array) -> None:
        """Add the structures that differ: those whose gap is not 0."""
        differ = np.flatnonzero(gap)
        if not len(differ):
            return
        worst = int(differ[np.argmax(gap[differ])])
        known = found.get(field)
        largest = None if gap.dtype == bool else float(gap[worst])
        name = str(first.ids[indices[worst]])
        if known is not None and (largest is None or (known.largest or 0.0) >= largest):
            largest, name = known.largest, known.id
        found[field] = Change(field, len(differ) + (known.structures if known else 0), largest, unit, name)

    sides = (first.splits, second.splits)
    for start in range(0, len(ours), BLOCK_STRUCTURES):
        a, b = ours[start : start + BLOCK_STRUCTURES], theirs[start : start + BLOCK_STRUCTURES]
        first.check(a)
        second.check(b)
        for column in TEXT_COLUMNS:
            note(column.path, "", a, first.text(column.path)[a] != second.text(column.path)[b])
        if sides[0] is not None and sides[1] is not None:
            note(SPLIT, "", a, sides[0][a] != sides[1][b])
        sizes = [np.take(d.ptr, i + 1) - np.take(d.ptr, i) for d, i in ((first, a), (second, b))]
        note(SIZE, "atoms", a, np.abs(sizes[0] - sizes[1]).astype(np.float64))
        same = sizes[0] == sizes[1]
        for column in first.columns:
            if second.has(column.path):
                chosen = same if column.per_atom else slice(None)
                x, y = (_rows(d, column, i[chosen]) for d, i in ((first, a), (second, b)))
                starts = np.cumsum(sizes[0][same]) - sizes[0][same] if column.per_atom else np.arange(len(a))
                unit = UNITS.get(column.path.rsplit("/", 1)[1], "").split(",")[0]
                note(column.path, unit, a[chosen], _gap(x, y, starts))
    return list(found.values())


def _rows(dataset: Dataset, column: Column, indices: Array) -> Array:
    rows = atoms_of(dataset.ptr, indices)[1] if column.per_atom else indices
    return dataset.column(column.path).take(rows, axis=0)


def _gap(a: Array, b: Array, starts: Array) -> Array:
    """Return (S,) largest difference within each structure, or whether rows differ if they are not floats."""
    if not len(a):
        return np.zeros(0, dtype=bool)
    if a.dtype.kind != "f":
        gap: Array = a != b
    else:
        with np.errstate(invalid="ignore"):
            gap = np.abs(a.astype(np.float64) - b.astype(np.float64))
        gap[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
        gap[np.isnan(gap)] = np.inf
    return np.maximum.reduceat(gap.reshape(len(a), -1).max(axis=1), starts)
