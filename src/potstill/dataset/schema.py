"""Schema 1 of the dataset file: its HDF5 datasets, their types, and their checksums.

The input is an open h5py file, the output its layout. :mod:`potstill.dataset.write` and ``read`` write and read the file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from potstill.core.types import Array

SCHEMA_VERSION = 1
PARTS = ("train", "valid", "test")
ALIGNMENT_BYTES = 64
METADATA_BYTES = 1 << 17  # more than the headers of all datasets


@dataclass(frozen=True, slots=True)
class Column:
    """One HDF5 dataset: its path, numpy type, trailing shape, and whether it has a row per atom or per structure."""

    path: str
    dtype: str
    shape: tuple[int, ...] = ()
    per_atom: bool = False
    label: bool = False


ARRAY_COLUMNS = (
    Column("atoms/atomic_numbers", "uint8", per_atom=True),
    Column("atoms/positions", "float32", (3,), per_atom=True),
    Column("structures/cell", "float64", (3, 3)),
    Column("structures/pbc", "bool", (3,)),
    Column("atoms/forces", "float32", (3,), per_atom=True, label=True),
    Column("structures/energy", "float64", label=True),
    Column("structures/stress", "float32", (3, 3), label=True),
    Column("structures/has_stress", "bool", label=True),
)
TEXT_COLUMNS = (
    Column("structures/id", "text"),
    Column("structures/source", "text"),
    Column("structures/family", "text"),
    Column("structures/generator_metadata", "text"),
)
EXTRA = "extra"  # group of further quantities of each atom; a reader ignores those that it does not know
EXTRA_UNITS = {
    "local_energies": "eV",
    "node_embeddings": "1",
    "hessian_directions": "1",
    "hessian_products": "eV/Å^2",
    "force_disagreement": "eV/Å",
}
JSON_ATTRIBUTES = {"teacher", "not_selected", "checksums"}  # objects
NUMBERS = {"label_seconds", "label_worker_seconds", "workers", "seconds"}
ATTRIBUTES = {
    *("schema_version", "units", "config", "potstill", "created", "mix", "merged_from", "subset_of"),
    *("seed", "source", "candidates", "max_force", "max_stress", "asked", "committee"),  # of parts of a run
    *("journeys", "round", "active_learning"),
    *JSON_ATTRIBUTES,
    *NUMBERS,
}
REFUSED_COLUMNS = tuple(Column(f"refused/{name}", "text") for name in ("id", "source", "stage", "reason", "detail"))


def extra_column(name: str, shape: tuple[int, ...]) -> Column:
    """Return the column of a quantity of each atom beside the standard labels."""
    return Column(f"{EXTRA}/{name}", "float32", shape, per_atom=True, label=True)


def extra_columns_of(file: h5py.File) -> tuple[Column, ...]:
    """Return the extra columns of a file."""
    names = sorted(file[EXTRA]) if EXTRA in file else []
    return tuple(extra_column(name, file[f"{EXTRA}/{name}"].shape[1:]) for name in names)


def open_for_writing(path: Path, expected_bytes: int) -> h5py.File:
    """Create an HDF5 file whose datasets start at multiples of 64 bytes, so that ``mmap`` can read them.

    Space on the disk is reserved before anything is written, since HDF5 ends the process where a disk is full; what is not
    needed is given back when the file is closed.

    Parameters
    ----------
    path
        Path of the new file.
    expected_bytes
        Upper bound of the size of the columns in bytes.

    Raises
    ------
    OSError
        If the disk has less free space.
    """
    aligned = {"alignment_threshold": 1, "alignment_interval": ALIGNMENT_BYTES}
    h5py.File(path, "w-", **aligned).close()
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, expected_bytes + METADATA_BYTES)
    return h5py.File(path, "r+", **aligned)


def text_dtype() -> np.dtype[Any]:
    """Return the type of variable-length text in UTF-8."""
    return h5py.string_dtype("utf-8")


def checksum(dataset: h5py.Dataset, rows_at_once: int = 262_144) -> str:
    """Return the SHA-256 of a dataset's shape and :func:`packed` rows."""
    digest = start_of_checksum(dataset.shape)
    for start in range(0, len(dataset), rows_at_once):
        digest.update(packed(dataset[start : start + rows_at_once]))
    return digest.hexdigest()


def start_of_checksum(shape: tuple[int, ...]) -> Any:
    """Return a SHA-256 object that holds the shape; rows are added :func:`packed`, in any number of pieces."""
    return hashlib.sha256(f"{shape}".encode())


def packed(rows: Array | Sequence[str]) -> Any:
    """Return the bytes of some rows in C order; each text follows its length, so that borders count."""
    if isinstance(rows, np.ndarray) and rows.dtype != object:
        return np.ascontiguousarray(rows).data
    texts = [row.encode() if isinstance(row, str) else row for row in rows]
    return b"".join([len(text).to_bytes(8, "little") + text for text in texts])


def datasets_of(file: h5py.File) -> list[tuple[str, h5py.Dataset]]:
    """Return every dataset of a file with its path, sorted by path."""
    found: list[tuple[str, h5py.Dataset]] = []
    file.visititems(lambda name, node: found.append((name, node)) if isinstance(node, h5py.Dataset) else None)
    return sorted(found, key=lambda item: item[0])
