"""ASE's database in one SQLite file, as ``ase db`` and ``ase.db.connect`` read it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from potstill.core.types import Structure
from potstill.dataset.formats.format import Format
from potstill.dataset.formats.rows import PRECISION, read_rows, write_row
from potstill.dataset.inputs.rows import sqlite_rows


def write(structures: Iterable[Structure], path: Path) -> None:
    """Write one row for each structure, without a transaction for each."""
    with _open(path) as database:
        for structure in structures:
            write_row(database, structure)


FORMAT = Format((".db",), partial(read_rows, sqlite_rows), write, PRECISION)


def _open(path: Path) -> Any:
    from ase.db import connect

    return connect(path, type="db", use_lock_file=False)
