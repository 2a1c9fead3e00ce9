"""ASE's database in one LMDB file (``.aselmdb``), the format that fairchem trains from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from potstill.core.errors import InputError
from potstill.core.registry import borrow
from potstill.core.types import Structure
from potstill.dataset.formats.format import Format, reading
from potstill.dataset.formats.rows import BLOCK_ROWS, PRECISION, structure_of_row, write_row


def read(path: Path) -> Iterator[Structure]:
    """Structures of a database, in the order of their row ids."""
    _borrow_backend()
    with reading(path):
        _refuse_damaged(path)
        with _open(path, readonly=True) as database:
            for k, row_id in enumerate(database.ids):
                yield structure_of_row(database.get(row_id), path, k)


def write(structures: Iterable[Structure], path: Path) -> None:
    """One row for each structure, a block of them in each transaction: LMDB holds what is not committed in memory."""
    _borrow_backend()
    stream = iter(structures)
    try:
        while block := list(islice(stream, BLOCK_ROWS)):
            with _open(path) as database:
                for structure in block:
                    database.ids.clear()  # each new id is looked for in this list, which makes long files slow
                    write_row(database, structure)
    finally:
        path.with_name(f"{path.name}-lock").unlink(missing_ok=True)


FORMAT = Format((".aselmdb",), read, write, PRECISION)


def _borrow_backend() -> None:
    borrow("ase_db_backends", "lmdb", "an .aselmdb file")


def _open(path: Path, **options: Any) -> Any:
    from ase.db import connect

    return connect(path, type="aselmdb", **options)


def _refuse_damaged(path: Path) -> None:
    """LMDB maps what its header states; reading past the end of a shorter file would kill the process."""
    import lmdb

    with lmdb.open(str(path), subdir=False, readonly=True, lock=False) as environment:
        stated = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    if path.stat().st_size < stated:
        raise InputError(f"{path} was cut short: it has {path.stat().st_size:,} of {stated:,} bytes")
