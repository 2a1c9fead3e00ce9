"""Rows of ASE's databases, of whichever backend: labels stand where ``SinglePointCalculator`` puts them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from potstill.core.stress import to_voigt
from potstill.core.types import Structure
from potstill.dataset.formats.atoms import names_of, record_of, structure_of
from potstill.dataset.formats.format import Precision

PRECISION = Precision(stress=1e-6)  # all numbers are float64; stress is Voigt, the mean of what should be symmetric
RECORD = "potstill_record"
BLOCK_ROWS = 1000  # held in memory at once


def write_row(database: Any, structure: Structure) -> None:
    """Append one structure to an open database."""
    database.write(_atoms(structure), key_value_pairs=_searchable(structure), data={RECORD: record_of(structure)})


def structure_of_row(row: Any, path: Path, k: int) -> Structure:
    """Structure of the row that is at place ``k`` of a database."""
    return structure_of(row.toatoms(), path, k, row.key_value_pairs, row.data.get(RECORD))


def _atoms(structure: Structure) -> Any:
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms = structure.to_ase()
    labels = structure.labels
    if labels is not None:
        stress = {} if labels.stress is None else {"stress": to_voigt(labels.stress)}
        atoms.calc = SinglePointCalculator(atoms, energy=labels.energy, forces=labels.forces, **stress)
    return atoms


def _searchable(structure: Structure) -> dict[str, str]:
    """Names that ASE takes as text; it refuses those that look like a number or a truth value."""
    from ase.db.core import convert_str_to_int_float_bool_or_str as convert

    return {key: text for key, text in names_of(structure).items() if isinstance(convert(text), str)}
