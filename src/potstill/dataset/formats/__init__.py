"""Formats of files of structures: each module reads one format as a stream of structures and writes one from it."""

from __future__ import annotations

from pathlib import Path

from potstill.core.errors import InputError
from potstill.dataset.formats import database, extxyz, hdf5, lmdb
from potstill.dataset.formats.format import Format, Precision

FORMATS = (hdf5.FORMAT, extxyz.FORMAT, database.FORMAT, lmdb.FORMAT)

__all__ = ["FORMATS", "Format", "Precision", "format_of", "format_to_write"]


def format_of(path: Path) -> Format | None:
    """Return the format of a file by its ending; None if potstill has no such format."""
    return next((f for f in FORMATS if path.suffix in f.endings), None)


def format_to_write(path: Path) -> Format:
    """Return the format of a file by its ending.

    Raises
    ------
    InputError
        If no format has that ending.
    """
    found = format_of(path)
    if found is None:
        endings = ", ".join(ending for f in FORMATS for ending in f.endings)
        raise InputError(f"cannot write '{path.suffix}'; the endings are {endings}")
    return found
