"""Checksums of blocks of structures, by which a reader of a few structures can detect damage.

A file keeps a CRC-32 for every column and block of 1,024 structures, below ``blocks/``, and one of ``structures/ptr``.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import h5py
import numpy as np

from potstill.core.types import Array
from potstill.dataset.schema import Column, packed

GROUP = "blocks"
BLOCK_STRUCTURES = 1024


def read_blocks(file: h5py.File) -> dict[str, Array]:
    """Return checksums by path of the column; empty if another program wrote the file without checksums."""
    found: dict[str, Array] = {}

    def note(path: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset):
            found[path] = node[:]

    if GROUP in file:
        file[GROUP].visititems(note)
    return found


def faults_of(
    columns: Sequence[Column],
    rows_by_path: Mapping[str, Any],
    ptr: Array,
    sums: Mapping[str, Array],
    blocks: Array | None = None,
) -> list[str]:
    """Return descriptions of the rows that differ from their checksum in some blocks.

    Parameters
    ----------
    columns
        Columns to compare; columns without rows or checksums are skipped.
    rows_by_path
        Rows of the columns by path; each value is indexed by a slice.
    ptr
        (S + 1,) offsets of each structure's atoms.
    sums
        Checksums of :func:`read_blocks`.
    blocks
        Numbers of the blocks; None for all.
    """
    faults = []
    for column in columns:
        if column.path not in rows_by_path or column.path not in sums:
            continue
        rows = rows_of_blocks(ptr, column)
        if len(rows) != len(sums[column.path]):
            return [f"{column.path} has {len(rows)} blocks and {len(sums[column.path])} checksums"]
        chosen = range(len(rows)) if blocks is None else blocks.tolist()
        wrong = [b for b in chosen if crc_of(rows_by_path[column.path][rows[b]]) != sums[column.path][b]]
        faults += [
            f"{column.path} differs from its checksum in structures {b * BLOCK_STRUCTURES} to "
            f"{min((b + 1) * BLOCK_STRUCTURES, len(ptr) - 1) - 1}"
            for b in wrong
        ]
    return faults


def rows_of_blocks(ptr: Array, column: Column) -> list[slice]:
    """Return the rows of a column that belong to each block."""
    edges = np.append(np.arange(0, len(ptr) - 1, BLOCK_STRUCTURES), len(ptr) - 1)
    rows = (ptr[edges] if column.per_atom else edges).tolist()
    return [slice(a, b) for a, b in pairwise(rows)]


def crc_of(rows: Array | Sequence[str]) -> int:
    """Return the CRC-32 of rows in the form that a file stores."""
    return zlib.crc32(packed(rows))
