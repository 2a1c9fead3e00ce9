"""Refusals of a whole file by its name and its first bytes, before a reader sees it; sources and converters share them."""

from __future__ import annotations

from pathlib import Path

from potstill.dataset.inputs.unusable import (
    COMPRESSED,
    UnusableError,
    as_text,
    ending_of,
    refuse_archive,
    refuse_wrong_ending,
)
from potstill.dataset.inputs.xyz import refuse_other_quantity

XYZ_ENDINGS = (".xyz", ".extxyz")
HEAD_BYTES = 4096
ARRAYS = (".npz", ".npy")  # of NumPy
ARRAYS_UNREAD = (
    "arrays of NumPy are not read: names and units of their labels are the author's, such as kcal/mol in MD17; convert "
    "them to eV, Å and eV/Å, and write extended XYZ with ASE"
)


def refuse_at_door(path: Path) -> None:
    """Refuse a file that no reader can read, or whose numbers are not what its format states.

    Raises
    ------
    UnusableError
        ``not_a_file``, ``unknown_format``, ``unreadable`` or ``no_coordinates``, with the remedy.
    """
    if not path.is_file():
        raise UnusableError("not_a_file", "a link without a target" if path.is_symlink() else "not a plain file")
    if path.stat().st_size == 0:
        return  # which each reader says in its own words
    refuse_archive(path)
    refuse_wrong_ending(path)
    if ending_of(path) in ARRAYS:
        raise UnusableError("unknown_format", ARRAYS_UNREAD)
    if ending_of(path) in XYZ_ENDINGS:
        refuse_other_quantity(path.name, as_text(head_of(path)))


def head_of(path: Path) -> bytes:
    """Return the first bytes of a file, decompressed."""
    with COMPRESSED.get(path.suffix, open)(path, "rb") as file:
        return bytes(file.read(HEAD_BYTES))
