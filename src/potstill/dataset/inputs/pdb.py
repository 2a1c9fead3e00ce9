"""PDB, model by model: elements from columns 77 and 78 only, never from names of atoms."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from potstill.dataset.inputs.atoms import frame_from
from potstill.dataset.inputs.known import unknown
from potstill.dataset.inputs.options import ReadOptions
from potstill.dataset.inputs.species import is_symbol, numbers_of
from potstill.dataset.inputs.unusable import Frame, UnusableError
from potstill.dataset.inputs.xyz_cell import IPI_UNIT, refuse_other_quantities

MODEL = re.compile(r"^(?:MODEL\b.*|ENDMDL.*|END\s*)$", re.MULTILINE)
SHARED_CELL = (
    "the model has no CRYST1 of its own: its cell is that of an earlier model, which is right at constant volume only"
)
NO_OCCUPANCY = "every occupancy is 0, as where none is known; each is taken as 1"
OWN_CHARGES = "those of columns 79 and 80 are"
SIGN = re.compile(r"[A-Za-z]\d?[+-]\d?$")  # Na+, Cl-, MG2+
ELEMENT_BEGINS = 77  # column
ATOM = ("ATOM  ", "HETATM")
LIKE_RECORD = re.compile(r"\s*(ATOM|HETATM|CRYST1)", re.IGNORECASE)
CHARGE = re.compile(r"(?P<before>\d?)(?P<sign>[+-])(?P<after>\d?)")
HARMLESS = re.compile(  # records of the format beside those that are read, and of programs for display
    r"HEADER|OBSLTE|TITLE|SPLIT|CAVEAT|COMPND|SOURCE|KEYWDS|EXPDTA|NUMMDL|MDLTYP|AUTHOR|REVDAT|SPRSDE|JRNL|REMARK|DBREF[12]?|"
    r"SEQADV|SEQRES|MODRES|HET|HETNAM|HETSYN|FORMUL|HELIX|SHEET|TURN|SSBOND|LINK|LINKR|CISPEP|SITE|CRYST1|(ORIGX|SCALE|MTRIX)[123]|"
    r"TVECT|ATOM|HETATM|ANISOU|SIGATM|SIGUIJ|TER|CONECT|MASTER|HYDBND|SLTBRG|USER|COMMNT"
)
COPIED = re.compile(r"^MTRIX1(?!.{53}1)", re.MULTILINE)  # column 60 says whether the file holds the copy itself


def pdb_frames(text: str, options: ReadOptions) -> Iterator[Frame | Exception]:
    """Yield the models of a file; the cell is that of the last CRYST1 record before or in the model."""
    cell = ""
    found = fresh = False  # whether a model came before, and whether a cell came after it
    before: list[str] = []
    ends = [*(mark[0] for mark in MODEL.finditer(text)), ""]
    for piece, end in zip(MODEL.split(text), ends, strict=True):
        own = next((line for line in piece.splitlines() if line.startswith("CRYST1")), "")
        cell, fresh = own or cell, fresh or bool(own)
        rows = [line for line in piece.splitlines() if line.startswith(ATOM)]
        if not rows:
            continue
        shared, found, fresh = found and not fresh, True, False
        try:
            _refuse_left_out(text, piece)
            if not end.startswith("END"):
                _refuse_cut(rows, before, to_the_end=not end and not text.endswith("\n"))
            frame = _model(rows, cell, options)
            said = (SHARED_CELL,) if shared and frame.structure.pbc.any() else ()
            records = (line[:6].strip() for line in piece.splitlines() if line.strip())
            yield frame.with_remarks(*said, *unknown(records, HARMLESS))
        except Exception as fault:  # noqa: BLE001 - of this model only
            yield fault
        before = rows
    if not found:
        yield UnusableError("no_atoms", "there are no ATOM or HETATM records")


def _refuse_left_out(text: str, piece: str) -> None:
    """Refuse a model with an atom that is no whole record, or whose copies by MTRIX records are not listed.

    Raises
    ------
    UnusableError
        ``unreadable`` or ``asymmetric_unit``.
    """
    title = next((line for line in piece.splitlines() if line.startswith("TITLE") and IPI_UNIT.search(line)), "")
    if title:
        refuse_other_quantities(title)
    like = [line for line in piece.splitlines() if LIKE_RECORD.match(line)]
    broken = next((line for line in like if not line.startswith((*ATOM, "CRYST1"))), None)
    if broken is not None:
        raise UnusableError(
            "unreadable", f"the record {broken[:30]!r} does not begin with 'ATOM  ', 'HETATM' or 'CRYST1' in column 1"
        )
    if COPIED.search(text):
        raise UnusableError("asymmetric_unit", "MTRIX records state copies that are not listed")


def _refuse_cut(rows: list[str], before: list[str], *, to_the_end: bool) -> None:
    """Refuse a model that has no end of its own, and only the first atoms of the model before or a part of its last row.

    Raises
    ------
    UnusableError
        ``wrong_count`` or ``unreadable``.
    """
    if len(rows) < len(before) and all(row[12:27] == other[12:27] for row, other in zip(rows[:-1], before, strict=False)):
        raise UnusableError(
            "wrong_count",
            f"the model has no ENDMDL and {len(rows)} of the {len(before)} atoms of the model before, "
            "as of a run that was killed",
        )
    other = rows[-2] if len(rows) > 1 else (before or rows)[-1]
    if to_the_end and len(rows[-1].rstrip()) < min(len(other.rstrip()), ELEMENT_BEGINS):
        raise UnusableError("unreadable", "the file ends within its last record, as of a run that was killed")


def _model(rows: list[str], crystal: str, options: ReadOptions) -> Frame:
    import ase

    if any(row[16:17].strip() for row in rows):
        raise UnusableError("disordered", "atoms have alternate locations (column 17)")
    try:
        positions = np.array([[float(row[k : k + 8]) for k in (30, 38, 46)] for row in rows])
        occupancy = np.array([float(row[54:60].strip() or 1.0) for row in rows])
    except ValueError as error:
        raise UnusableError("unreadable", f"a coordinate or occupancy is no number: {error}") from error
    unstated = not occupancy.any()
    if (occupancy < 1).any() and not unstated:
        raise UnusableError("disordered", f"a site is occupied by {occupancy.min():g}")
    cell = _cell(crystal)
    atoms = ase.Atoms(numbers=_numbers(rows, options), positions=positions, cell=cell, pbc=cell is not None)
    charge = sum(map(_charge, rows))
    if charge:
        atoms.info["charge"] = charge
    frame = frame_from(atoms, options)
    signs = (
        [] if any(row[78:80].strip() for row in rows) else [name for row in rows if SIGN.search(name := row[12:16].strip())]
    )
    said = [NO_OCCUPANCY] if unstated else []
    said += [f"names of atoms such as '{signs[0]}' state charges, which are not read: {OWN_CHARGES}"] if signs else []
    return frame.with_remarks(*said, *_on_species(rows, options))


def _numbers(rows: list[str], options: ReadOptions) -> list[int]:
    symbols = [row[76:78].strip().capitalize() for row in rows]
    names = [row[12:16].strip() for row in rows]
    tags = [symbol if is_symbol(symbol) else name for symbol, name in zip(symbols, names, strict=True)]
    own = tuple((symbol, symbol) for symbol in dict.fromkeys(symbols) if is_symbol(symbol))
    stated = ReadOptions(species=(*options.species, *own))
    if not own and not options.species:
        raise UnusableError(
            "no_elements",
            "columns 77 and 78 hold no elements, and names of atoms are ambiguous (CA is calcium or a carbon); "
            f"name them by species: {{{names[0]}: ELEMENT, …}}, --species {names[0]}=ELEMENT",
        )
    return [int(z) for z in numbers_of(tags, stated)]


def _on_species(rows: list[str], options: ReadOptions) -> list[str]:
    """Return a remark where the option ``species`` names another element for an atom than columns 77 and 78 do."""
    given = dict(options.species)
    pairs = ((given.get(row[12:16].strip()), row[76:78].strip().capitalize()) for row in rows) if given else ()
    other = any(stated and is_symbol(symbol) and stated != symbol for stated, symbol in pairs)
    return ["elements are those of columns 77 and 78, and the option species is not used for their atoms"] if other else []


def _charge(row: str) -> int:
    """Return the formal charge of columns 79 and 80: ``1-`` as the format has it, or ``-1`` and ``-`` as some programs do.

    Raises
    ------
    UnusableError
        ``unreadable`` where they hold something else.
    """
    word = row[78:80].strip()
    if word in ("", "0"):
        return 0
    found = CHARGE.fullmatch(word)
    if found is None:
        raise UnusableError("unreadable", f"columns 79 and 80 hold {word!r}, expected a charge such as 2+")
    size = int(found["before"] or found["after"] or 1)
    return size if found["sign"] == "+" else -size


def _cell(line: str) -> list[float] | None:
    """Return lengths and angles of CRYST1; None where there is none, or its unit cube, which stands for no crystal."""
    if not line:
        return None
    try:
        cell = [float(line[a:b]) for a, b in ((6, 15), (15, 24), (24, 33), (33, 40), (40, 47), (47, 54))]
    except ValueError as error:
        raise UnusableError("unreadable", f"CRYST1 is {line[6:54]!r}, expected six numbers") from error
    if cell[:3] == [1.0, 1.0, 1.0]:
        return None
    group = line[55:66].strip()
    if group not in ("", "P 1", "P1"):
        raise UnusableError("asymmetric_unit", f"CRYST1 names the group {group}, and the copies by symmetry are not listed")
    return cell
