"""LAMMPS dump and data files: elements by the column ``element``, masses, type labels, or the option ``species``."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from potstill.dataset.inputs.atoms import frame_from
from potstill.dataset.inputs.charge import on_title
from potstill.dataset.inputs.known import unknown
from potstill.dataset.inputs.numbers import with_plain_numbers
from potstill.dataset.inputs.options import ReadOptions
from potstill.dataset.inputs.species import is_symbol, numbers_of, symbol_of_mass
from potstill.dataset.inputs.unusable import Frame, UnusableError, text_of

CARBON = 6
TYPES_AS_LABELS = "which Atom Type Labels does not have; write it again by  write_data FILE types numeric"
READ_SECTIONS = ("header", "Atoms", "Masses", "Velocities", "Atom Type Labels")
HEADING = re.compile(r"([A-Z][A-Za-z ]*[A-Za-z])[ \t]*(?:#.*)?")
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
            plain, labels = _without_labels(with_plain_numbers(frame), columns)
            atoms: Any = read(io.StringIO(plain), index=0, format="lammps-dump-text")
            found = _dump_frame(atoms, columns, options, labels)
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


def _without_labels(frame: str, columns: list[str]) -> tuple[str, dict[str, str]]:
    """Return the text of a frame with types as numbers, and the labels that the file has in their place.

    A column ``element`` of other words than symbols becomes one of labels, in ``columns`` too.
    """
    head, rest = re.split(r"(?<=\nITEM: ATOMS )", frame, maxsplit=1)
    _, *rows = rest.splitlines()
    words = [row.split() for row in rows if row.strip() and not row.startswith("ITEM:")]
    if "element" in columns and not all(is_symbol(row[columns.index("element")]) for row in words):
        columns[columns.index("element")] = "typelabel"  # names of a force field
    column = next((name for name in ("typelabel", "type") if name in columns), "")
    at = columns.index(column) if column else 0
    if not column or all(row[at].isdigit() for row in words):
        return frame, {}
    numbers = {label: str(k + 1) for k, label in enumerate(dict.fromkeys(row[at] for row in words))}
    names = ["i_type" if name == "type" else name for name in columns]
    names[at] = "type"
    lines = [" ".join([*row[:at], numbers[row[at]], *row[at + 1 :]]) for row in words]
    return head + "\n".join([" ".join(names), *lines]) + "\n", {number: label for label, number in numbers.items()}


def _dump_frame(atoms: Any, columns: list[str], options: ReadOptions, labels: Mapping[str, str]) -> Frame:
    atoms.calc = None  # ASE makes up an energy of zero beside the forces
    if labels:
        atoms.arrays["type"] = np.array([labels[str(k)] for k in atoms.arrays["type"]])
    if "element" not in columns:
        if "type" not in columns and not labels:
            raise UnusableError("no_elements", f"the columns {' '.join(columns)} say neither element nor type")
        own = {label: label for label in labels.values() if is_symbol(label)}
        species = ReadOptions(species=tuple({**own, **dict(options.species)}.items()))
        atoms.numbers = numbers_of([str(k) for k in atoms.arrays["type"]], species)
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
    labels = dict(_section(text, "Atom Type Labels"))
    if labels:
        text = f"{title}\n{_with_numbers(rest, {label: kind for kind, label in labels.items()})}"
    header = SECTION.split(rest)[0]
    _refuse_units(UNITS_IN_HEADER.search(f"{title}\n{header}") or re.search(r"\bunits\s*=\s*(\w+)", title))
    if not re.search(r"\bxlo\s+xhi\b", header):
        raise UnusableError("no_cell", "the box has no 'xlo xhi'; write it without 'triclinic/general'")
    _compare_counts(text)
    try:
        atoms: Any = read(io.StringIO(text), format="lammps-data")
    except KeyError as error:
        raise UnusableError("no_elements", f"a row is of the type {error}, {TYPES_AS_LABELS}") from error
    except ValueError as error:
        if labels and "invalid literal for int" in str(error):
            raise UnusableError("no_elements", f"a row is of a type {TYPES_AS_LABELS}") from error
        if "atom_style" not in str(error):
            raise
        raise UnusableError("unreadable", "the style of atoms is not stated; write it, such as 'Atoms # charge'") from error
    _refuse_other_masses(text, options)
    stated = {labels.get(kind, kind): symbol for kind, symbol in {**_of_types(text), **dict(options.species)}.items()}
    names = [labels.get(str(k), str(k)) for k in atoms.arrays["type"]]
    atoms.numbers = numbers_of(names, ReadOptions(species=tuple(stated.items())))
    frame = frame_from(atoms, options)
    return frame.with_remarks(*unknown(SECTION.findall(rest), HARMLESS_SECTION), *on_title(title))


def _with_numbers(sections: str, numbers: Mapping[str, str]) -> str:
    """Return the header and the sections of atoms, with the numbers of types in place of their labels."""
    found, section = [], "header"
    for line in sections.split("\n"):
        heading = HEADING.fullmatch(line)
        section = heading[1] if heading else section
        if section in ("Atoms", "Masses") and not heading:
            words, mark, comment = line.partition("#")
            found.append(" ".join(numbers.get(word, word) for word in words.split()) + mark + comment)
        elif section in READ_SECTIONS:
            found.append(line)
    return "\n".join(found)


def _compare_counts(text: str) -> None:
    stated = DATA_FILE.search(text)
    rows = len(_section(text, "Atoms"))
    if stated is not None and int(stated[0].split()[0]) != rows:
        raise UnusableError("wrong_count", f"{stated[0].split()[0]} atoms are stated, {rows} rows follow below Atoms")


def _refuse_other_masses(text: str, options: ReadOptions) -> None:
    """Refuse a type whose mass is that of one element and whose comment or label names another, unless an option names it.

    Raises
    ------
    UnusableError
        ``no_elements`` with both.
    """
    masses = {kind: symbol_of_mass(float(value)) for kind, value in _section(text, "Masses")}
    comments, labels = _comments(text, "Masses"), dict(_section(text, "Atom Type Labels"))
    for what, kind, said in [("comment", *pair) for pair in comments.items()] + [
        ("label", *pair) for pair in labels.items()
    ]:
        given = {kind, labels.get(kind, kind)} & dict(options.species).keys()
        if is_symbol(said) and masses.get(kind, "") not in ("", said) and not given:
            raise UnusableError(
                "no_elements",
                f"type {kind} has the mass of {masses[kind]} and the {what} '{said}'; name it by the option species",
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
