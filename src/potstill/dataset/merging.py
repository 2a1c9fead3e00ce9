"""Merging of dataset files, block by block; each block is compared with its checksum before it is copied."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from potstill.core.errors import DatasetError
from potstill.core.files import sealed
from potstill.core.types import Array, Refused
from potstill.dataset.blocks import BLOCK_STRUCTURES
from potstill.dataset.read import Dataset
from potstill.dataset.records import atoms_of
from potstill.dataset.schema import TEXT_COLUMNS, Column, extra_columns_of, open_for_writing
from potstill.dataset.write import Writer, bytes_expected, refusals_as_text

ID, METADATA, REFUSED_ID = "structures/id", "structures/generator_metadata", "refused/id"


def merge(
    parts: Sequence[Path],
    path: Path,
    *,
    attributes: Mapping[str, Any],
    splits: Array | None = None,
    refused_before: Path | None = None,
    chosen: Sequence[Array] | None = None,
    refused: Sequence[Refused] | None = None,
    prefixes: Sequence[str] | None = None,
) -> None:
    """Stream part files into one sealed, contiguous, checksummed file.

    Parameters
    ----------
    parts
        Part files in the order of their structures in the result.
    path
        The file to make.
    attributes
        Attributes of the file beside ``schema_version``, ``units`` and ``checksums``.
    splits
        (S,) uint8 index into ``("train", "valid", "test")``, or None.
    refused_before
        File of an earlier stage whose refusals are carried over.
    chosen
        Indices of the structures to take from each part; all structures if None.
    refused
        Refusals to write instead of those of the parts.
    prefixes
        Text that is put before the ids of each part, and before those of the parents that its structures state.

    Raises
    ------
    DatasetError
        If some parts have labels and others not, or one is damaged.
    """
    takes = [None] * len(parts) if chosen is None else chosen
    sizes = [_size(part, take) for part, take in zip(parts, takes, strict=True)]
    labelled = bool(sizes) and sizes[0][2]
    for part, size in zip(parts, sizes, strict=True):
        if size[2] != labelled:
            raise DatasetError(f"of {parts[0]} and {part} one has labels and the other has none: do not mix runs")
    extra = [size[3] for size in sizes if size[0]]
    for part, size in zip(parts, sizes, strict=True):
        if size[0] and size[3] != extra[0]:
            names = [", ".join(c.path for c in columns) or "nothing" for columns in (extra[0], size[3])]
            raise DatasetError(f"parts hold {names[0]} beside the labels, but {part} holds {names[1]}: do not mix runs")
    n_structures, n_atoms = sum(size[0] for size in sizes), sum(size[1] for size in sizes)
    before = [] if refused_before is None else [refused_before]
    texts = refusals_as_text(refused or ())
    for file in before:
        _add_refusals(Dataset(file), texts)
    expected = sum(file.stat().st_size for file in (*before, *parts)) + bytes_expected(n_structures, 0, texts.values())
    with sealed(path) as temporary, open_for_writing(temporary, expected) as file:
        writer = Writer(file, n_structures, n_atoms, labelled=labelled, extra=extra[0] if extra else ())
        for part, take, prefix in zip(parts, takes, prefixes or [""] * len(parts), strict=True):
            try:
                dataset = Dataset(part)
                copy(dataset, np.arange(len(dataset)) if take is None else take, writer, prefix)
            except DatasetError as error:
                raise DatasetError(f"{error}\n  a part of a run is made again: remove it, then run with --resume") from error
            if refused is None:
                _add_refusals(dataset, texts, prefix)
        writer.finish(attributes=attributes, splits=splits, refused=texts)


def copy(dataset: Dataset, indices: Array, writer: Writer, prefix: str = "") -> None:
    """Append structures of a file, in the order of their indices, with a prefix to their ids.

    Raises
    ------
    DatasetError
        If a block of the file differs from its checksum.
    """
    for start in range(0, len(indices), BLOCK_STRUCTURES):
        some = indices[start : start + BLOCK_STRUCTURES]
        dataset.check(some)
        ptr, atoms = atoms_of(dataset.ptr, some)
        rows: dict[str, Any] = {c.path: dataset.text(c.path)[some] for c in TEXT_COLUMNS}
        if prefix:
            rows[ID] = [prefix + name for name in rows[ID]]
            rows[METADATA] = [_with_parent(text, prefix) for text in rows[METADATA]]
        for column in dataset.columns:
            rows[column.path] = dataset.column(column.path).take(atoms if column.per_atom else some, axis=0)
        writer.append(np.diff(ptr), rows)


def _with_parent(text: str, prefix: str) -> str:
    """Return metadata in which the id of a parent has the prefix too."""
    known = json.loads(text) if '"parent"' in text else {}
    return json.dumps({**known, "parent": prefix + known["parent"]}) if known.get("parent") else text


def _size(part: Path, take: Array | None) -> tuple[int, int, bool, tuple[Column, ...]]:
    """Return numbers of structures and atoms, whether there are labels, and the extra columns, without reading more."""
    with h5py.File(part, "r") as file:
        sizes = np.diff(file["structures/ptr"][:])
        sizes = sizes if take is None else sizes[take]
        return len(sizes), int(sizes.sum()), "structures/energy" in file, extra_columns_of(file)


def _add_refusals(dataset: Dataset, texts: dict[str, list[str]], prefix: str = "") -> None:
    for path in texts:
        if dataset.has(path):
            before = prefix if path == REFUSED_ID else ""
            texts[path] += [before + text for text in dataset.text(path).tolist()]
