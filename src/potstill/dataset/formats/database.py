"""ASE's database in one SQLite file, as ``ase db`` and ``ase.db.connect`` read it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from potstill.core.errors import InputError
from potstill.core.types import Structure
from potstill.dataset.formats.format import Format, reading
from potstill.dataset.formats.rows import BLOCK_ROWS, PRECISION, structure_of_row, write_row


def read(path: Path) -> Iterator[Structure]:
    """Structures of a database, in the order of their row ids."""
    with reading(path):
        _refuse_other_files(path)
        with _open(path) as database:
            k = last = 0
            while rows := list(database.select([("id", ">", last)], sort="id", limit=BLOCK_ROWS)):
                for row in rows:
                    yield structure_of_row(row, path, k)
                    k, last = k + 1, row.id


def write(structures: Iterable[Structure], path: Path) -> None:
    """One row for each structure, without a transaction for each."""
    with _open(path) as database:
        for structure in structures:
            write_row(database, structure)


FORMAT = Format((".db",), read, write, PRECISION)


def _open(path: Path) -> Any:
    from ase.db import connect

    return connect(path, type="db", use_lock_file=False)


def _refuse_other_files(path: Path) -> None:
    """ASE would add its tables to any SQLite file, and to an empty one."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE name = 'systems'").fetchall()
    if not tables:
        raise InputError(f"{path} is not an ASE database")
