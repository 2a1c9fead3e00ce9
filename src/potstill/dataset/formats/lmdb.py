"""ASE's database in one LMDB file (``.aselmdb``), the format that fairchem trains from."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from potstill.core.types import Structure
from potstill.dataset.formats.format import Format
from potstill.dataset.formats.rows import PRECISION, read_rows, write_row
from potstill.dataset.inputs.rows import BLOCK_ROWS, borrow_lmdb, lmdb_rows


def write(structures: Iterable[Structure], path: Path) -> None:
    """Write one row for each structure, a block of them in each transaction: LMDB holds what is not committed in memory."""
    borrow_lmdb()
    stream = iter(structures)
    try:
        while block := list(islice(stream, BLOCK_ROWS)):
            with _open(path) as database:
                for structure in block:
                    database.ids.clear()  # each new id is looked for in this list, which makes long files slow
                    write_row(database, structure)
    finally:
        path.with_name(f"{path.name}-lock").unlink(missing_ok=True)


FORMAT = Format((".aselmdb",), partial(read_rows, lmdb_rows), write, PRECISION)


def _open(path: Path) -> Any:
    from ase.db import connect

    return connect(path, type="aselmdb")
