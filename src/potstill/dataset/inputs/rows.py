"""Rows of ASE's databases in SQLite, LMDB and JSON, as frames."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from potstill.core.errors import InputError
from potstill.core.registry import borrow
from potstill.dataset.inputs.atoms import frame_from, stated_names
from potstill.dataset.inputs.options import ReadOptions
from potstill.dataset.inputs.units import refuse_units
from potstill.dataset.inputs.unusable import COMPRESSED, Frame, UnusableError, content_of

LENGTH = r"(Å|Ang|Angstrom|A)"
OWN_UNITS = {
    "length": re.compile(LENGTH, re.IGNORECASE),
    "energy": re.compile(r"eV"),
    "force": re.compile(rf"eV/{LENGTH}", re.IGNORECASE),
    "stress": re.compile(rf"eV/{LENGTH}(\^|\*\*)?3", re.IGNORECASE),
}
LABELS = tuple(f"{prefix}{name}" for prefix in ("", "REF_") for name in ("energy", "forces", "stress"))
RECORD = "potstill_record"
BLOCK_ROWS = 1000  # held in memory at once


def database_frames(path: Path, options: ReadOptions) -> Iterator[Frame | Exception]:
    """Yield the frames of a database; a faulty row as its exception."""
    rows = {".db": sqlite_rows, ".aselmdb": lmdb_rows}.get(path.suffix, json_rows)
    for row in rows(path):
        try:
            yield frame_of_row(row, options)
        except Exception as fault:  # noqa: BLE001 - of this row only
            yield fault


def frame_of_row(row: Any, options: ReadOptions) -> Frame:
    """Return the frame of a row, with its key-value pairs and its data as facts about the frame."""
    data = dict(row.data)
    record = data.pop(RECORD, None)
    atoms = row.toatoms()
    if atoms.calc is not None:
        atoms.calc.parameters = dict(row.get("calculator_parameters") or {})  # which ASE leaves out
    pairs = {key: vars(row)[key] for key in row.key_value_pairs}  # the row's own 'charge' hides a pair of that name
    atoms.info = {**atoms.info, **data, **pairs}
    if record is not None:
        return frame_from(atoms, options, ours=True, names=json.loads(record))
    return frame_from(atoms, options, names=stated_names(atoms.info))


def refuse_units_of(metadata: Mapping[str, Any]) -> None:
    """Refuse a database whose metadata state units of its numbers other than eV and Å, as SchNetPack or ASE write them.

    Raises
    ------
    UnusableError
        ``units`` with the name and its unit.
    """
    refuse_units({str(key): value for key, value in metadata.items()})
    described = metadata.get("key_descriptions") or {}  # of ASE: a short and a long name, and the unit
    own = {
        name: words[-1] for name, words in described.items() if name in LABELS and isinstance(words, list | tuple) and words
    }
    refuse_units({f"{name}_unit": str(unit) for name, unit in own.items()})
    stated = {"length": metadata.get("_distance_unit")}
    stated.update(metadata.get("_property_unit_dict") or {})
    for name, unit in stated.items():
        about = next((own for own in OWN_UNITS if own in str(name).lower()), None)
        if about is not None and unit is not None and not OWN_UNITS[about].fullmatch(str(unit).replace(" ", "")):
            raise UnusableError(
                "units", f"the database states {name} in {unit}, expected eV, Å, eV/Å and eV/Å^3: convert it first"
            )


def borrow_lmdb() -> None:
    """Import the LMDB backend, or say which extra has it."""
    borrow("ase_db_backends", "lmdb", "an .aselmdb file")


def sqlite_rows(path: Path) -> Iterator[Any]:
    """Yield the rows of a SQLite database in the order of their ids.

    Raises
    ------
    InputError
        If the file is no database of ASE.
    """
    from ase.db import connect

    # ASE would add its tables to any SQLite file, and to an empty one
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE name = 'systems'").fetchall()
    if not tables:
        raise InputError(f"{path} is not an ASE database")
    with connect(path, type="db", use_lock_file=False) as database:
        refuse_units_of(database.metadata)
        last = 0
        while rows := list(database.select([("id", ">", last)], sort="id", limit=BLOCK_ROWS)):
            yield from rows
            last = rows[-1].id


def lmdb_rows(path: Path) -> Iterator[Any]:
    """Yield the rows of an LMDB database in the order of their ids.

    Raises
    ------
    InputError
        If the file was cut short.
    """
    borrow_lmdb()
    import lmdb
    from ase.db import connect

    # LMDB maps the size that its header states; reading past the end of a shorter file would kill the process
    with lmdb.open(str(path), subdir=False, readonly=True, lock=False) as environment:
        stated = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    if path.stat().st_size < stated:
        raise InputError(f"{path} was cut short: it has {path.stat().st_size:,} of {stated:,} bytes")
    with connect(path, type="aselmdb", readonly=True) as database:
        refuse_units_of(database.metadata)
        for row_id in database.ids:
            yield database.get(row_id)


def json_rows(path: Path) -> Iterator[Any]:
    """Yield the rows of a JSON database, compressed or not, in the order of their ids."""
    from ase.db import connect

    with TemporaryDirectory() as folder:
        plain = path
        if path.suffix in COMPRESSED:
            plain = Path(folder) / "rows.json"
            plain.write_bytes(content_of(path))
        with connect(plain, type="json", use_lock_file=False) as database:
            refuse_units_of(database.metadata)
            yield from database.select(sort="id")
