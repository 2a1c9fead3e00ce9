"""Cells that the second line of an XYZ frame states in another way than extended XYZ does."""

from __future__ import annotations

import re

from potstill.dataset.inputs.numbers import number_of
from potstill.dataset.inputs.unusable import UnusableError

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][-+]?\d+)?"
CELL_WORD = r"(?<![A-Za-z])(?:unit_?cell|cell|box|lattice|pbc|cryst1?)\b"
IN_COMMENT = re.compile(rf"{CELL_WORD}[^\d=\n]{{0,12}}?(?:{NUMBER}[\s,;x]+){{2,}}{NUMBER}", re.IGNORECASE)
BARE_NUMBERS = re.compile(rf"\s*(?:{NUMBER}[\s,;]+)*{NUMBER}\s*")
ANGLES = (30.0, 150.0)  # degrees, of cells that are in use
IPI_CELL = re.compile(rf"#\s*CELL\W?(abcABC|H|GENH)\W?:\s*((?:{NUMBER}\s+){{5,8}}{NUMBER})")
IPI_UNIT = re.compile(r"(\w+)\{([^{}\s]+)\}")
IPI_POSITIONS = ("positions", "x_centroid")
IPI_DEFAULT = "atomic_unit"


def with_cell(facts: str, *, has_keys: bool) -> str:
    """Return the second line of a frame, with the cell of i-PI as ``Lattice``.

    Parameters
    ----------
    facts
        Second line of the frame.
    has_keys
        Whether it is extended XYZ, with keys and values.

    Raises
    ------
    UnusableError
        ``no_cell`` for a cell that the reader would drop, ``units`` for i-PI's in other units than Å, ``no_coordinates`` for
        forces or velocities of i-PI, which stand where positions do.
    """
    found = IPI_CELL.search(facts)
    if found is not None:
        refuse_other_quantities(facts)
        if found[1] != "abcABC":
            raise UnusableError("no_cell", f"the cell is CELL({found[1]}), expected CELL(abcABC): lengths and angles")
        from ase.geometry import cellpar_to_cell

        vectors = cellpar_to_cell([float(word) for word in found[2].split()[:6]])
        return f'Lattice="{" ".join(repr(float(x)) for x in vectors.ravel())}" pbc="T T T"'
    stated = None if has_keys else IN_COMMENT.search(facts)
    if stated is not None:
        raise UnusableError(
            "no_cell", f"the comment states {stated[0]!r}, which is not read; write Lattice= and nine numbers"
        )
    if not has_keys and _is_bare_cell(facts):
        raise UnusableError(
            "no_cell",
            f"the comment is {len(re.findall(NUMBER, facts))} numbers alone, as PLUMED writes a cell, which is not read; "
            "write Lattice= and nine numbers, or another comment for a molecule",
        )
    return facts


def _is_bare_cell(facts: str) -> bool:
    """Return whether a comment is three lengths, three lengths and three angles, or nine numbers, and nothing else."""
    if not BARE_NUMBERS.fullmatch(facts):
        return False
    numbers = [number_of(word) for word in re.split(r"[\s,;]+", facts.strip())]
    match len(numbers):
        case 3:
            return min(numbers) > 0
        case 6:
            return min(numbers) > 0 and all(ANGLES[0] <= angle <= ANGLES[1] for angle in numbers[3:])
        case 9:
            return any(numbers)
    return False


def refuse_other_quantities(facts: str) -> None:
    """Refuse what i-PI wrote in other units than Å, or other quantities than positions.

    Raises
    ------
    UnusableError
        ``units`` or ``no_coordinates``.
    """
    units = dict(IPI_UNIT.findall(facts))
    quantity = next((name for name in units if name != "cell"), "positions")
    if quantity not in IPI_POSITIONS:
        raise UnusableError("no_coordinates", f"i-PI wrote {quantity} into this file, not positions")
    stated = {units.get(name, IPI_DEFAULT) for name in (quantity, "cell")}
    if stated != {"angstrom"}:
        raise UnusableError(
            "units", f"i-PI wrote {' and '.join(sorted(stated))}, expected positions{{angstrom}} cell{{angstrom}}"
        )
