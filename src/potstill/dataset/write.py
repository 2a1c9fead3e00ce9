"""Writing: immutable part files while work goes on, one contiguous ``dataset.h5`` when it is done.

A part holds the structures of one task, whole or not at all: it is written under a temporary name, synced to disk and
renamed. ``kill -9`` therefore costs the part in hand and never a file. :func:`merge` streams parts, or whole datasets, into
one file, some rows at a time.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from potstill.dataset.blocks import crc_of, faults_of, read_blocks, write_blocks
from potstill.dataset.schema import (
    ARRAY_COLUMNS,
    REFUSED_COLUMNS,
    SCHEMA_VERSION,
    TEXT_COLUMNS,
    checksum,
    open_for_writing,
    text_dtype,
)
from potstill.errors import DatasetError
from potstill.types import Array, Refused, Structure
from potstill.units import UNITS

BYTES_BESIDE_TEXT = 64  # of a text in HDF5: its place, its length, and what rounds it up
BYTES_PER_ATOM, BYTES_PER_STRUCTURE = (
    sum(np.dtype(c.dtype).itemsize * math.prod(c.shape) for c in ARRAY_COLUMNS if c.per_atom is per_atom)
    for per_atom in (True, False)
)
ROWS_AT_ONCE = 262_144


@contextmanager
def sealed(path: Path) -> Iterator[Path]:
    """Give a temporary name to write under; on success sync it to disk and rename it to ``path``, else remove it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        yield temporary
        descriptor = os.open(temporary, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        temporary.replace(path)
        descriptor = os.open(path.parent, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    finally:
        temporary.unlink(missing_ok=True)


def write_part(
    path: Path,
    structures: Sequence[Structure],
    refused: Sequence[Refused] = (),
    *,
    labelled: bool = False,
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Seal one part file.

    Parameters
    ----------
    path
        Where it will stand; its folder is made.
    structures
        Structures of this part, in order; none is fine.
    refused
        What this task refused.
    labelled
        Whether the part holds labels; every structure must have them then.
    attributes
        Written as attributes of the file (dictionaries as JSON).
    """
    ptr = np.cumsum([0, *(len(s) for s in structures)]).astype(np.int64)
    texts = {
        **{c.path: [_text(getattr(s, c.path.rsplit("/", 1)[1])) for s in structures] for c in TEXT_COLUMNS},
        **{c.path: [getattr(r, c.path.rsplit("/", 1)[1]) for r in refused] for c in REFUSED_COLUMNS},
    }
    expected = bytes_expected(len(structures), int(ptr[-1]), texts.values())
    with sealed(path) as temporary, open_for_writing(temporary, expected) as file:
        _set_attributes(file, attributes or {})
        _set_schema(file)
        file["structures/ptr"] = ptr
        for column in ARRAY_COLUMNS:
            if column.label and not labelled:
                continue
            items = [_value(column.path.rsplit("/", 1)[1], s) for s in structures]
            rows = int(ptr[-1]) if column.per_atom else len(structures)
            join = np.concatenate if column.per_atom else np.stack
            data = join(items) if items else np.zeros((0, *column.shape))
            file[column.path] = np.asarray(data, dtype=column.dtype).reshape(rows, *column.shape)
        for name, rows_of_text in texts.items():
            _write_text(file, name, rows_of_text)
        write_blocks(file)


def merge(
    parts: Sequence[Path],
    path: Path,
    *,
    attributes: Mapping[str, Any],
    splits: Array | None = None,
    refused_before: Path | None = None,
) -> None:
    """Stream part files into one sealed, contiguous, checksummed file.

    Parameters
    ----------
    parts
        Part files in the order their structures shall have.
    path
        The file to make.
    attributes
        Written beside ``schema_version``, ``units`` and ``checksums``.
    splits
        (S,) uint8 index into ``("train", "valid", "test")``, or None.
    refused_before
        File of an earlier stage whose refusals are carried over.
    """
    sizes = [_part_size(p) for p in parts]
    n_structures, n_atoms = (int(sum(column)) for column in zip(*sizes, strict=True)) if sizes else (0, 0)
    labelled = bool(parts) and _has(parts[0], "structures/energy")
    expected = sum(p.stat().st_size for p in ([*parts, refused_before] if refused_before else parts))
    with sealed(path) as temporary, open_for_writing(temporary, expected + n_structures) as file:
        create_columns(file, n_structures, n_atoms, labelled=labelled)
        _copy_parts(parts, file)
        files = [refused_before, *parts] if refused_before else parts
        refused = {c.path: [text for part in files for text in _read_text(part, c.path)] for c in REFUSED_COLUMNS}
        finish(file, attributes=attributes, splits=splits, refused=refused)


def bytes_expected(n_structures: int, n_atoms: int, texts: Iterable[Iterable[str]]) -> int:
    """What a file with these columns of text takes on the disk, or a little more."""
    letters = sum(len(text.encode()) + BYTES_BESIDE_TEXT for rows in texts for text in rows)
    return letters + BYTES_PER_ATOM * n_atoms + (BYTES_PER_STRUCTURE + 9) * n_structures  # 9: ptr and split


def create_columns(file: h5py.File, n_structures: int, n_atoms: int, *, labelled: bool) -> None:
    """Empty columns of the right length in a new file, to be filled in any order."""
    file.create_dataset("structures/ptr", (n_structures + 1,), "int64")
    for column in ARRAY_COLUMNS:
        if labelled or not column.label:
            rows = n_atoms if column.per_atom else n_structures
            file.create_dataset(column.path, (rows, *column.shape), column.dtype)
    for column in TEXT_COLUMNS:
        file.create_dataset(column.path, (n_structures,), text_dtype())


def finish(
    file: h5py.File, *, attributes: Mapping[str, Any], splits: Array | None, refused: Mapping[str, Sequence[str]]
) -> None:
    """Refusals by path, split, attributes and checksums of a file whose columns are filled."""
    for column in REFUSED_COLUMNS:
        _write_text(file, column.path, refused.get(column.path, ()))
    if splits is not None:
        file["splits/part"] = np.asarray(splits, dtype=np.uint8)
    write_blocks(file)
    _set_attributes(file, attributes)
    _set_schema(file)
    sums = {name: checksum(dataset) for name, dataset in datasets_of(file)}
    file.attrs["checksums"] = json.dumps(sums, sort_keys=True)


def datasets_of(file: h5py.File) -> list[tuple[str, h5py.Dataset]]:
    """Every dataset of a file with its path, sorted by path."""
    found: list[tuple[str, h5py.Dataset]] = []
    file.visititems(lambda name, node: found.append((name, node)) if isinstance(node, h5py.Dataset) else None)
    return sorted(found, key=lambda item: item[0])


def _copy_parts(parts: Sequence[Path], file: h5py.File) -> None:
    structure_at = atom_at = 0
    file["structures/ptr"][0] = 0
    for part in parts:
        with h5py.File(part, "r") as source:
            ptr = source["structures/ptr"][:]
            s, n = len(ptr) - 1, int(ptr[-1])
            _refuse_damaged(part, source, ptr)
            file["structures/ptr"][structure_at + 1 : structure_at + s + 1] = ptr[1:] + atom_at
            for column in (*ARRAY_COLUMNS, *TEXT_COLUMNS):
                if column.path not in file or s == 0:
                    continue
                start, rows = (atom_at, n) if column.per_atom else (structure_at, s)
                if column.path not in source:
                    raise DatasetError(f"part {part} has no {column.path}, other parts have: do not mix runs")
                for at in range(0, rows, ROWS_AT_ONCE):
                    piece = source[column.path][at : min(at + ROWS_AT_ONCE, rows)]
                    file[column.path][start + at : start + at + len(piece)] = piece
            structure_at, atom_at = structure_at + s, atom_at + n


def _refuse_damaged(part: Path, file: h5py.File, ptr: Array) -> None:
    sums = read_blocks(file)
    wrong = "structures/ptr" in sums and crc_of(ptr) != sums["structures/ptr"][0]
    faults = ["structures/ptr differs from its checksum"] if wrong else faults_of(file, ptr, sums)
    if faults:
        raise DatasetError(f"{part} is damaged: {faults[0]}\n  remove it and run again with --resume: it will be made again")


def _value(name: str, structure: Structure) -> Any:
    if name in ("atomic_numbers", "positions", "cell", "pbc"):
        return getattr(structure, name)
    labels = structure.labels
    if labels is None:
        raise ValueError(f"structure {structure.id} has no labels")
    if name == "has_stress":
        return labels.stress is not None
    if name == "stress":
        return np.zeros((3, 3)) if labels.stress is None else labels.stress
    return getattr(labels, name)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(dict(value), sort_keys=True)


def _write_text(file: h5py.File, path: str, texts: Iterable[str]) -> None:
    rows = list(texts)
    dataset = file.create_dataset(path, (len(rows),), text_dtype())
    if rows:
        dataset[:] = rows


def _read_text(part: Path, path: str) -> list[str]:
    with h5py.File(part, "r") as file:
        return list(file[path].asstr()[:]) if path in file and len(file[path]) else []


def _set_attributes(file: h5py.File, attributes: Mapping[str, Any]) -> None:
    for name, value in attributes.items():
        file.attrs[name] = json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else value


def _set_schema(file: h5py.File) -> None:
    file.attrs["schema_version"] = SCHEMA_VERSION
    file.attrs["units"] = json.dumps(UNITS)


def _part_size(part: Path) -> tuple[int, int]:
    with h5py.File(part, "r") as file:
        ptr = file["structures/ptr"]
        return len(ptr) - 1, int(ptr[-1])


def _has(part: Path, path: str) -> bool:
    with h5py.File(part, "r") as file:
        return path in file
