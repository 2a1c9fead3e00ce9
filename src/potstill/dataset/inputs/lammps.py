"""LAMMPS dump and data files: elements by the column ``element``, masses, type labels, or the option ``species``."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from potstill.dataset.inputs.atoms import frame_from
from potstill.dataset.inputs.known import unknown
from potstill.dataset.inputs.numbers import with_plain_numbers
from potstill.dataset.inputs.options import ReadOptions
from potstill.dataset.inputs.species import is_symbol, numbers_of, symbol_of_mass
from potstill.dataset.inputs.unusable import Frame, UnusableError, text_of

CARBON = 6
TYPES_AS_LABELS = "the rows name types by labels, and numbers are read: write it again by  write_data FILE types numeric"
ANGSTROM_UNITS = ("metal", "real")
DUMP_FILE = re.compile(r"^ITEM: (TIMESTEP|UNITS|TIME)\s*$", re.MULTILINE)
BEFORE_FRAMES = re.compile(r"(\s*ITEM: (UNITS|TIME)\s*\n[^\n]*\n)*\s*")
STYLES = ("lj", "real", "metal", "si", "cgs", "electron", "micro", "nano")
UNITS_IN_HEADER = re.compile(rf"\bunits?\b[\s:=,]*(?:(?:is|are|style|in)\s+)*({'|'.join(STYLES)})\b", re.IGNORECASE)
ITEM = re.compile(r"^ITEM: ([A-Z ]*[A-Z])", re.MULTILINE)
HARMLESS_ITEM = re.compile(r"TIMESTEP|TIME|UNITS|NUMBER OF ATOMS|BOX BOUNDS|ATOMS|THERMO")
HARMLESS_COLUMN = re.compile(
    r"id|type|typelabel|element|mol|mass|proc|procp1|[xyz](s|u|su)?|i[xyz]|v[xyz]|f[xyz]|q|radius|diameter|omega[xyz]|angmom[xyz]"
)
SECTION = re.compile(r"^([A-Z][A-Za-z ]*[A-Za-z])[ \t]*(?:#[^\n]*)?\n[ \t]*\n", re.MULTILINE)
HARMLESS_SECTION = re.compile(r"Atoms|Masses|Velocities|Bonds|Angles|Dihedrals|Impropers|[A-Za-z ]+ (Coeffs|Type Labels)")
SECTION_OF_STYLE = re.compile(r"^(Atoms[ \t]*#[ \t]*[\w/]+)[^\n]*$", re.MULTILINE)
INDENTED = re.compile(r"^[ \t]+(?=[A-Z])", re.MULTILINE)  # headings of VMD's TopoTools
DATA_FILE = re.compile(r"^\s*\d+\s+atoms\b", re.MULTILINE)


def is_data_file(head: str) -> bool:
    """Return whether the first lines are those of a LAMMPS data file."""
    return bool(DATA_FILE.search(head)) and ("xlo" in head or "avec" in head)


def is_dump_file(head: str) -> bool:
    """Return whether the first lines are those of a LAMMPS dump file, whole or cut in front."""
    return bool(DUMP_FILE.search(head))


def dump_frames(path: Path, options: ReadOptions) -> Iterator[Frame | Exception]:
    """Yield the frames of a text dump.

    Raises
    ------
    UnusableError
        If the dump states units other than Å.
    """
    from ase.io import read

    text = text_of(path)
    _refuse_units(re.search(r"^ITEM: UNITS\s*\n\s*(\S+)", text, re.MULTILINE))
    before, *frames = re.split(r"^(?=ITEM: TIMESTEP)", text, flags=re.MULTILINE)
    if not BEFORE_FRAMES.fullmatch(before):
        yield UnusableError(
            "unreadable", "the file begins within a frame; delete its lines before the first 'ITEM: TIMESTEP'"
        )
    for frame in frames:
        try:
            columns = _checked_columns(frame)
            atoms: Any = read(io.StringIO(with_plain_numbers(frame)), index=0, format="lammps-dump-text")
            found = _dump_frame(atoms, columns, options)
            yield found.with_remarks(*unknown(ITEM.findall(frame), HARMLESS_ITEM))
        except Exception as fault:  # noqa: BLE001 - of this frame only
            yield fault


def _checked_columns(frame: str) -> list[str]:
    """Return the names of the columns of one frame; refuse it where its rows are not as many atoms as it states."""
    stated = re.search(r"^ITEM: NUMBER OF ATOMS\s*\n\s*(\d+)", frame, re.MULTILINE)
    found = re.search(r"^ITEM: ATOMS (.*)\n((?:(?!ITEM:).*\n?)*)", frame, re.MULTILINE)
    if stated is None or found is None:
        raise UnusableError("unreadable", "the frame ends before its atoms")
    if not re.search(r"^ITEM: BOX BOUNDS.*(\s[pfsm]{2}){3}\s*$", frame, re.MULTILINE):
        raise UnusableError("no_cell", "BOX BOUNDS states no boundaries, such as 'pp pp pp' or 'pp pp ff'")
    columns, rows = found[1].split(), [line.split() for line in found[2].splitlines() if line.strip()]
    if len(rows) != int(stated[1]) or any(len(row) < len(columns) for row in rows):
        whole = sum(len(row) >= len(columns) for row in rows)
        raise UnusableError("wrong_count", f"{stated[1]} atoms are stated, {whole} whole rows follow")
    if "id" in columns and len({row[columns.index("id")] for row in rows}) < len(rows):
        raise UnusableError("wrong_count", "an atom id occurs twice")
    return columns


def _dump_frame(atoms: Any, columns: list[str], options: ReadOptions) -> Frame:
    atoms.calc = None  # ASE makes up an energy of zero beside the forces
    if "element" not in columns:
        if "type" not in columns:
            raise UnusableError("no_elements", f"the columns {' '.join(columns)} say neither element nor type")
        atoms.numbers = numbers_of([str(k) for k in atoms.arrays["type"]], options)
    frame = frame_from(atoms, options, words=columns)
    remarks = [*frame.remarks, *unknown(columns, HARMLESS_COLUMN)]
    if options.labels and {"fx", "fy", "fz"} <= set(columns):
        remarks.append("forces of a dump have no energy beside them and are not taken")
    if "element" in columns and options.species and not _agree(atoms, columns, options):
        remarks.append("elements are those of the column 'element', and the option species is not used")
    if "element" in columns and (atoms.numbers == CARBON).all():
        remarks.append("all atoms are C, which LAMMPS writes for every type where 'dump_modify element' is missing")
    return Frame(frame.structure, tuple(remarks))


def _agree(atoms: Any, columns: list[str], options: ReadOptions) -> bool:
    """Return whether the option ``species`` names the elements that the column ``element`` has."""
    given = dict(options.species)
    types = atoms.arrays["type"] if "type" in columns else []
    return bool(len(types)) and all(
        given.get(str(kind), symbol) == symbol for kind, symbol in zip(types, atoms.get_chemical_symbols(), strict=True)
    )


def data_frame(path: Path, options: ReadOptions) -> Frame:
    """Return the structure of a data file.

    Raises
    ------
    UnusableError
        If elements are not stated, or units other than Å are.
    """
    from ase.io import read

    text = with_plain_numbers(SECTION_OF_STYLE.sub(r"\1", INDENTED.sub("", text_of(path))))
    title, _, rest = text.partition("\n")
    header = SECTION.split(rest)[0]
    _refuse_units(UNITS_IN_HEADER.search(f"{title}\n{header}") or re.search(r"\bunits\s*=\s*(\w+)", title))
    if not re.search(r"\bxlo\s+xhi\b", header):
        raise UnusableError("no_cell", "the box has no 'xlo xhi'; write it without 'triclinic/general'")
    _compare_counts(text)
    try:
        atoms: Any = read(io.StringIO(text), format="lammps-data")
    except ValueError as error:
        if "invalid literal for int" in str(error) and _section(text, "Atom Type Labels"):
            raise UnusableError("unreadable", TYPES_AS_LABELS) from error
        if "atom_style" not in str(error):
            raise
        raise UnusableError("unreadable", "the style of atoms is not stated; write it, such as 'Atoms # charge'") from error
    _refuse_other_masses(text, options)
    stated = {**_of_types(text), **dict(options.species)}
    atoms.numbers = numbers_of([str(k) for k in atoms.arrays["type"]], ReadOptions(species=tuple(stated.items())))
    frame = frame_from(atoms, options)
    return frame.with_remarks(*unknown(SECTION.findall(rest), HARMLESS_SECTION))


def _compare_counts(text: str) -> None:
    stated = DATA_FILE.search(text)
    rows = len(_section(text, "Atoms"))
    if stated is not None and int(stated[0].split()[0]) != rows:
        raise UnusableError("wrong_count", f"{stated[0].split()[0]} atoms are stated, {rows} rows follow below Atoms")


def _refuse_other_masses(text: str, options: ReadOptions) -> None:
    """Refuse a type whose mass is that of one element and whose comment names another, unless an option names it.

    Raises
    ------
    UnusableError
        ``no_elements`` with both.
    """
    masses = {kind: symbol_of_mass(float(value)) for kind, value in _section(text, "Masses")}
    for kind, said in _comments(text, "Masses").items():
        if is_symbol(said) and masses.get(kind, "") not in ("", said) and kind not in dict(options.species):
            raise UnusableError(
                "no_elements",
                f"type {kind} has the mass of {masses[kind]} and the comment '{said}'; name it by the option species",
            )


def _of_types(text: str) -> dict[str, str]:
    """Return the elements of types by their labels, else by the masses that exactly one element has.

    A mass says nothing if the comment behind it names another element.
    """
    found: dict[str, str] = {}
    masses = {kind: float(value) for kind, value in _section(text, "Masses")}
    if set(masses.values()) != {1.0}:  # which is the unit of mass of reduced units, not hydrogen
        found = {kind: symbol_of_mass(mass) for kind, mass in masses.items()}
        for kind, said in _comments(text, "Masses").items():  # a made-up mass of 1, or heavy hydrogen of 4
            if is_symbol(said) and found.get(kind) not in ("", said):
                found[kind] = ""
    found.update({kind: value for kind, value in _section(text, "Atom Type Labels") if is_symbol(value)})
    return {kind: symbol for kind, symbol in found.items() if symbol}


def _comments(text: str, name: str) -> dict[str, str]:
    """Return the first word of the comment behind each line of a section, by the first word of the line."""
    body = re.search(rf"^{name}\b[^\n]*\n\s*\n((?:[ \t]*\d+[^\n]*\n?)+)", text, re.MULTILINE)
    lines = [line.partition("#") for line in body[1].splitlines()] if body else []
    return {line.split()[0]: said.split()[0] for line, _, said in lines if line.split() and said.split()}


def _section(text: str, name: str) -> list[tuple[str, str]]:
    """Return the first two words of each line of a section."""
    body = re.search(rf"^{name}\b[^\n]*\n\s*\n((?:[ \t]*\d+[^\n]*\n?)+)", text, re.MULTILINE)
    lines = [line.split("#")[0].split() for line in body[1].splitlines()] if body else []
    return [(words[0], words[1]) for words in lines if len(words) > 1]


def _refuse_units(found: re.Match[str] | None) -> None:
    if found is not None and found[1].lower() not in ANGSTROM_UNITS:
        raise UnusableError("units", f"the file states units {found[1]}, expected {' or '.join(ANGSTROM_UNITS)}")
