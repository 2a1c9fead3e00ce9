"""Rows of ASE's databases of any backend; labels stand where ``SinglePointCalculator`` puts them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from potstill.core.stress import to_voigt
from potstill.core.types import Structure
from potstill.dataset.formats.atoms import names_of, record_of
from potstill.dataset.formats.format import Precision, named, reading
from potstill.dataset.inputs.options import ReadOptions
from potstill.dataset.inputs.rows import RECORD, frame_of_row
from potstill.dataset.inputs.unusable import Frame, quiet

PRECISION = Precision(stress=1e-6)  # all numbers are float64; stress is Voigt, the mean of what should be symmetric


def write_row(database: Any, structure: Structure) -> None:
    """Append one structure to an open database."""
    database.write(_atoms(structure), key_value_pairs=_searchable(structure), data={RECORD: record_of(structure)})


def read_rows(rows_of: Callable[[Path], Iterator[Any]], path: Path, options: ReadOptions) -> Iterator[Frame]:
    """Yield the rows of a database as frames with names.

    Parameters
    ----------
    rows_of
        Yields the rows of a backend.
    path
        The database.
    options
        Options for reading the file.

    Raises
    ------
    InputError
        If the file or a row gives no structure.
    """
    rows = rows_of(path)
    for k in count():
        with reading(path):
            row = next(rows, None)
        if row is None:
            return
        with reading(path, k), quiet():
            frame = frame_of_row(row, options)
        yield named(frame, path, k)


def _atoms(structure: Structure) -> Any:
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms = structure.to_ase()
    labels = structure.labels
    if labels is not None:
        stress = {} if labels.stress is None else {"stress": to_voigt(labels.stress)}
        atoms.calc = SinglePointCalculator(atoms, energy=labels.energy, forces=labels.forces, **stress)
    return atoms


def _searchable(structure: Structure) -> dict[str, str]:
    """Return names that ASE takes as text; it refuses those that look like a number or a truth value."""
    from ase.db.core import convert_str_to_int_float_bool_or_str as convert

    return {key: text for key, text in names_of(structure).items() if isinstance(convert(text), str)}
