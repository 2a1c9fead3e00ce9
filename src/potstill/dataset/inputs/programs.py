"""Structures of GROMACS and CP2K, whose atoms have names that need not be elements."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from potstill.dataset.inputs.atoms import frame_from
from potstill.dataset.inputs.charge import on_title
from potstill.dataset.inputs.fractional import refuse_pseudo_hydrogen
from potstill.dataset.inputs.known import ignored
from potstill.dataset.inputs.numbers import with_plain_numbers
from potstill.dataset.inputs.options import ReadOptions
from potstill.dataset.inputs.species import is_symbol, numbers_of
from potstill.dataset.inputs.unusable import Frame, UnusableError, text_of
from potstill.dataset.inputs.xyz import last_number_is_cut

KEYWORD = re.MULTILINE | re.IGNORECASE
READ_BY_CP2K = {  # keywords of the sections that state a structure, and subsections of &SUBSYS, as they are read or harmless
    "CELL": re.compile(r"A|B|C|PERIODIC|MULTIPLE_UNIT_CELL|SYMMETRY|&?CELL_REF|CANONICALIZE|&END"),
    "KIND": re.compile(
        r"ELEMENT|MASS|GHOST|(AUX_FIT_|RI_\w+_)?BASIS_SET|BASIS_SET_FILE_NAME|POTENTIAL\w*|POT\w*|LMAX\w*|RADIAL_GRID|LEBEDEV_GRID|"
        r"MAGNETIZATION|COVALENT_RADIUS|VDW_RADIUS|ELEC_CONF|CORE_CORRECTION|SE_P_ORBITALS|NO_OPTIMIZE|&BS|&END"
    ),
    "TOPOLOGY": re.compile(
        r"NUMBER_OF_ATOMS|MULTIPLE_UNIT_CELL|COORD_FILE_FORMAT|CONN\w*|&\w+|(MOL|PARA|EXCLUDE|DISABLE)\w*"
    ),
    "SUBSYS": re.compile(r"&(CELL|COORD|KIND|TOPOLOGY|VELOCITY|PRINT|RNG_INIT|COLVAR|END)"),
}
NANOMETER = 10.0  # Å
COMMENT = re.compile(r"[#!][^\n]*")


def gromacs_frames(path: Path, options: ReadOptions) -> Iterator[Frame | Exception]:
    """Yield the frames of a GROMACS file, whose atoms have names of the force field only.

    Columns are as wide as decimal points of the first atom are apart, which is how GROMACS states its precision.
    """
    text = text_of(path)
    lines = text.rstrip().split("\n")
    at = 0
    while at < len(lines):
        stated = lines[at + 1].strip() if at + 1 < len(lines) else ""
        if not stated.isdigit():
            yield UnusableError("unreadable", f"line {at + 2} is {stated[:40]!r}, expected a number of atoms")
            return
        title = lines[at]
        *rows, box = lines[at + 2 : at + 3 + int(stated)] or [""]
        at += 3 + int(stated)
        last = at >= len(lines) and not text.endswith("\n")
        if len(rows) < int(stated):
            yield UnusableError("wrong_count", f"{stated} atoms and a box are stated, {len(rows) + bool(box)} lines follow")
        elif last and last_number_is_cut([f"X {box}"]):
            yield UnusableError("unreadable", "the file ends within its last number")
        else:
            try:
                yield frame_from(_gromacs_atoms(rows, box, options), options).with_remarks(*on_title(title))
            except Exception as fault:  # noqa: BLE001 - of this frame only
                yield fault


def _gromacs_atoms(rows: list[str], box: str, options: ReadOptions) -> Any:
    """Return the ASE ``Atoms`` of the rows and the box of a frame.

    Raises
    ------
    UnusableError
        If the option ``species`` does not name all atoms, or a number is none.
    """
    import ase

    points = [found.start() for found in re.finditer(r"\.", rows[0][20:])] if rows else []
    width = points[1] - points[0] if len(points) > 2 else 8
    try:
        positions = [[float(row[20 + width * k : 20 + width * (k + 1)]) for k in range(3)] for row in rows]
        sides = [float(word) for word in box.split()]
    except ValueError as error:
        raise UnusableError("unreadable", f"a position or the box is no number: {error}") from error
    if len(sides) not in (3, 9):
        raise UnusableError("no_cell", f"the box is {box.strip()[:40]!r}, expected three or nine numbers")
    cell = np.diag(sides[:3])
    if len(sides) > 3:
        cell.flat[[1, 2, 3, 5, 6, 7]] = sides[3:]
    return ase.Atoms(
        numbers=numbers_of([row[10:15].strip() for row in rows], options),
        positions=NANOMETER * np.reshape(positions, (-1, 3)),
        cell=NANOMETER * cell,
        pbc=bool(cell.any()),
    )


def cp2k_frame(path: Path, options: ReadOptions) -> Frame:
    """Return the structure of a CP2K restart file, with the charge, multiplicity and periodic axes that it states.

    Raises
    ------
    UnusableError
        If a kind of atom is no element, or coordinates are scaled or in another unit than Å.
    """
    import ase

    text = with_plain_numbers(COMMENT.sub("", text_of(path)))
    if _cp2k_sections(text, "REPLICA"):
        raise UnusableError("several_structures", "a band has several replicas; write them as extended XYZ")
    system = next((body for _, body in _cp2k_sections(text, "SUBSYS")), text)  # a thermostat has a &COORD too
    coordinates = next((body for _, body in _cp2k_sections(system, "COORD")), None)
    if coordinates is None:
        raise UnusableError("no_atoms", "there is no section &COORD in &SUBSYS")
    rows = [line.split() for line in coordinates.splitlines() if line.strip()]
    words = {row[0].upper(): row[-1].lower() for row in rows if len(row) < 4}
    if words.get("SCALED", "f") not in ("f", "false") or words.get("UNIT", "angstrom") not in ("angstrom", "[angstrom]"):
        raise UnusableError("units", f"&COORD is scaled or in another unit than Å: {words}")
    kinds = _cp2k_sections(text, "KIND")
    stated = {
        name: found[1].capitalize()
        for name, body in kinds
        if (found := re.search(r"\bELEMENT\s+([A-Za-z]+)", body, re.IGNORECASE))
    }
    rows = [row for row in rows if len(row) >= 4]
    ghosts = {name for name, body in kinds if re.search(r"^\s*GHOST(\s+\.?T(RUE)?\.?)?\s*$", body, KEYWORD)}
    if ghosts & {row[0] for row in rows}:
        raise UnusableError("unknown_element", f"the kinds {', '.join(sorted(ghosts))} are ghost atoms; delete their rows")
    names = [row[0] for row in rows]
    refuse_pseudo_hydrogen(names)
    for name, body in kinds:
        valence = re.search(r"^\s*POT\w*[^\n]*-q(\d*\.\d+)", body, KEYWORD)
        if valence is not None and float(valence[1]) % 1:
            raise UnusableError("unknown_element", f"the kind {name} has a valence of {valence[1]}, and no element has that")
    own = {name: name.capitalize() for name in names if is_symbol(name.capitalize())}
    species = {**own, **stated, **dict(options.species)}
    vectors = _cp2k_vectors(text)
    atoms = ase.Atoms(
        numbers=numbers_of(names, ReadOptions(species=tuple(species.items()))),
        positions=[[float(x) for x in row[1:4]] for row in rows],
        cell=vectors or None,
        pbc=bool(vectors),
    )
    periodic = re.search(r"^\s*PERIODIC\s+(\w+)", _cp2k_cell(text), KEYWORD)
    if periodic is not None:
        atoms.pbc = [axis in periodic[1].upper() and periodic[1].upper() != "NONE" for axis in "XYZ"]
    dft = next((body for _, body in _cp2k_sections(text, "DFT")), "")
    for key, keyword in (("charge", "CHARGE"), ("multiplicity", "MULTIPLICITY")):
        found = re.search(rf"^\s*{keyword}[\s=]+(\S+)", dft, KEYWORD)
        if found is not None:
            atoms.info[key] = _integer(keyword, found[1])
    frame = frame_from(atoms, options)
    return frame.with_remarks(*_on_cp2k(text))


def _integer(keyword: str, word: str) -> int:
    """Return the number behind a keyword, which the preprocessor of CP2K may have to fill in.

    Raises
    ------
    UnusableError
        ``unreadable`` where it is none.
    """
    try:
        return round(float(word))
    except ValueError:
        raise UnusableError("unreadable", f"{keyword} is {word}, expected a number; write it out") from None


def _on_cp2k(text: str) -> list[str]:
    """Return remarks about a second set of coordinates, and about keywords beside them that are not read."""
    found = [
        f"&{section} {keyword}".replace("SUBSYS &", "")
        for section, harmless in READ_BY_CP2K.items()
        for _, body in _cp2k_sections(text, section)
        for keyword in _outermost(body)
        if not harmless.fullmatch(keyword)
    ]
    copies = re.findall(r"^\s*(MULTIPLE_UNIT_CELL(?!\s+1\s+1\s+1\s*$)[^\n]*\S)\s*$", text, KEYWORD)
    found += [" ".join(line.upper().split()) for line in copies]
    coordinates = len(_cp2k_sections(text, "COORD"))
    more = [f"{coordinates} sections &COORD are there, and the first is taken"] if coordinates > 1 else []
    return more + ignored(found)


def _outermost(body: str) -> list[str]:
    """Return the first word of each line of a section, in upper case, without those of its subsections."""
    words, depth = [], 0
    for line in body.splitlines():
        first = line.split()[0].upper() if line.strip() else ""
        if first.startswith("&END"):
            depth -= 1
        elif first and not depth:
            words.append(first)
        depth += first.startswith("&") and not first.startswith("&END")
    return words


def _cp2k_vectors(text: str) -> list[list[float]]:
    """Return the three cell vectors in Å, or none where the file has no section &CELL.

    Raises
    ------
    UnusableError
        If the cell is stated in another way or unit.
    """
    section = _cp2k_cell(text)
    if not section:
        return []
    vectors = re.findall(r"^\s*[ABC]\s+(?:\[angstrom\]\s+)?(\S+)\s+(\S+)\s+(\S+)\s*$", section, KEYWORD)
    if len(vectors) != 3:
        raise UnusableError("no_cell", "&CELL does not state the vectors A, B and C in Å, as a restart file does")
    return [[float(x) for x in vector] for vector in vectors]


def _cp2k_cell(text: str) -> str:
    """Return the body of the section &CELL; empty where there is none."""
    return next((body for _, body in _cp2k_sections(text, "CELL")), "")


def _cp2k_sections(text: str, name: str) -> list[tuple[str, str]]:
    """Return parameter and body of each section of a name that is in no other one of it.

    ``&END`` ends the innermost section, with its name behind it or without.
    """
    found: list[tuple[str, str]] = []
    body: list[str] = []
    parameter, depth = "", 0
    for line in text.splitlines(keepends=True):
        words = line.split()
        first = words[0].upper() if words else ""
        if depth:
            depth += -1 if first == "&END" else first.startswith("&")
            if depth:
                body.append(line)
            else:
                found.append((parameter, "".join(body)))
        elif first == f"&{name}":
            parameter, depth, body = " ".join(words[1:2]), 1, []
    return found
