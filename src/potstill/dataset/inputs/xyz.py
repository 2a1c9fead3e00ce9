"""XYZ and extended XYZ, frame by frame, without what its reader would make up: a cell, positions, an element."""

from __future__ import annotations

import io
import json
import re
from typing import Any, BinaryIO

import numpy as np

from potstill.core.elements import atomic_numbers_of
from potstill.dataset.inputs.atoms import frame_from, stated_names
from potstill.dataset.inputs.known import ignored
from potstill.dataset.inputs.labels import refuse_asymmetric
from potstill.dataset.inputs.numbers import with_plain_numbers
from potstill.dataset.inputs.options import ReadOptions
from potstill.dataset.inputs.species import is_symbol
from potstill.dataset.inputs.units import POSITIONS_TAKEN, on_units_of_positions
from potstill.dataset.inputs.unusable import Frame, UnusableError
from potstill.dataset.inputs.xyz_cell import NUMBER, with_cell
from potstill.dataset.inputs.xyz_comment import KEY, QUOTED, charge_of_comment, on_comment, on_units

GOLD = 79
Spans = list[tuple[int, int]]
BYTE_ORDER_MARK = "\ufeff"  # written by Notepad and Excel before the first character
SIX_NUMBERS = re.compile(
    rf"""(?<![\w"'])(?P<key>stress)\s*=\s*["'{{\[]\s*(?P<numbers>(?:{NUMBER}[\s,]+){{5}}{NUMBER})\s*["'}}\]]"""
)
NINE_NUMBERS = re.compile(rf"""(?<![\w"'])stress\s*=\s*["'{{\[]\s*((?:{NUMBER}[\s,]+){{8}}{NUMBER})\s*["'}}\]]""")
VALUE = re.compile(rf"=\s*(?:{QUOTED.pattern})")
PBC = re.compile(r"""(?<!\S)pbc\s*=\s*("[^"]*"|'[^']*'|\[[^\]]*\]|\{[^}]*\}|\S+)""")
FLAGS = {**dict.fromkeys(("t", "true", ".true.", "1"), True), **dict.fromkeys(("f", "false", ".false.", "0"), False)}
COLUMN = re.compile(r"([^:]+):([SRILsril]):(\d+)")
SPELLED = {"lattice": "Lattice", "properties": "Properties", "pbc": "pbc"}
LIKE_A_CELL = re.compile(r"cell|box|lattice", re.IGNORECASE)
ELEMENT_COLUMNS = {"species", "symbols", "Z", "numbers"}
ASE_ON_MATRIX = re.compile(r"Got info item (\w+), expecting special 3x3 matrix")
OF_CP2K = re.compile(r"\bi\s*=\s*\d+,\s*time\s*=")
OTHER_QUANTITIES = {"frc": "forces", "vel": "velocities"}  # in names of CP2K's files, such as water-frc-1.xyz


def xyz_spans(file: BinaryIO) -> Spans:
    """Cut a file by its counts of atoms; text in the place of a count belongs to the frame before it."""
    starts: list[int] = []
    at = 0
    while line := file.readline():
        if line.strip():
            try:
                count = int(line.decode("utf-8", errors="replace").lstrip(BYTE_ORDER_MARK))
            except ValueError:
                at = file.seek(0, io.SEEK_END)
                starts = starts or [0]
                break
            starts.append(at)
            at += len(line)
            for _ in range(count + 1):
                line = file.readline()
                at += len(line)
                if not line:
                    break
        else:
            at += len(line)
    return list(zip(starts, [*starts[1:], at], strict=True)) if starts else []


def refuse_other_quantity(name: str, head: str) -> None:
    """Refuse a file of CP2K with forces or velocities in the place of positions.

    Raises
    ------
    UnusableError
        ``no_coordinates`` with the quantity.
    """
    quantity = next((OTHER_QUANTITIES[word] for word in re.split(r"[-_.]", name) if word in OTHER_QUANTITIES), "")
    if quantity and OF_CP2K.search(head):
        raise UnusableError(
            "no_coordinates", f"CP2K wrote {quantity} into this file, by its name; positions are in the one with -pos-"
        )


def parse_xyz(text: str, options: ReadOptions) -> Frame:
    """Parse one frame of (extended) XYZ, with its names and metadata where potstill wrote it."""
    first, *rest = text.lstrip(BYTE_ORDER_MARK).rstrip().splitlines()
    if not first.strip().lstrip("-").isdigit():
        raise UnusableError("unreadable", f"a number of atoms was expected, found {first[:40]!r}")
    stated, found = int(first), max(0, len(rest) - 1)
    if stated <= 0:
        raise UnusableError("no_atoms", f"{stated} atoms are stated")
    if stated != found:
        more = "; delete the lines behind the atoms" if found > stated else ""
        raise UnusableError("wrong_count", f"{stated} atoms are stated, {found} lines follow{more}")
    facts, rows = with_plain_numbers(rest[0]), with_plain_numbers("\n".join(rest[1:])).split("\n")
    if not text.endswith("\n") and last_number_is_cut(rows):
        raise UnusableError("unreadable", "the file ends within its last number")
    _check_keys(facts)
    facts, rows, unused = _with_species(facts, rows, options)
    names = _check_columns(facts, rows)
    _refuse_second_column(facts, rows)
    periodic = _periodic(facts)
    if nine := NINE_NUMBERS.search(facts):  # ASE's reader keeps six of them
        refuse_asymmetric("stress", np.array(nine[1].replace(",", " ").split(), dtype=np.float64).reshape(3, 3))
    facts = with_cell(SIX_NUMBERS.sub(_nine, facts), has_keys=bool(KEY.search(facts)))
    atoms = _by_ase(first, facts, rows)
    _check_cell(atoms)
    if periodic is not None:  # ASE's reader takes any word that it does not know for true
        atoms.pbc = periodic
    record = atoms.info.pop("record_hex", None)
    if record is None:
        words = {key for key, value in atoms.info.items() if value is True} - _keys(facts)
        atoms.info = {**atoms.info, **charge_of_comment(facts)}
        frame = frame_from(atoms, options, names=stated_names(atoms.info), words=words)
        said = (
            *_on_symbols(names, rows),
            *unused,
            *_on_width(names, rows),
            *on_comment(rest[0], options),
            *on_units(facts, options),
            *_on_length(facts, atoms, frame.remarks),
        )
        return frame.with_remarks(*said)
    if not text.endswith("\n"):
        raise UnusableError("unreadable", "the file was cut short: its last line has no end")
    return frame_from(atoms, options, ours=True, names=json.loads(bytes.fromhex(str(record)[1:])))


def _by_ase(first: str, facts: str, rows: list[str]) -> Any:
    """Return the atoms of a frame; a fault of its second line or of a row is named without the words of ASE.

    Raises
    ------
    UnusableError
        ``unreadable``, ``no_coordinates``, ``no_cell`` or ``wrong_label``.
    """
    from ase.io.extxyz import read_xyz

    try:
        return next(iter(read_xyz(io.StringIO("\n".join([first, facts, *rows]) + "\n"), 0)))
    except KeyError as error:
        raise UnusableError("unreadable", f"{error} is neither a chemical symbol nor a column of the file") from error
    except ValueError as error:
        matrix = ASE_ON_MATRIX.search(str(error))
        if matrix is None:
            _refuse_words(facts, rows)
            raise
        raise UnusableError(
            "no_cell" if matrix[1] == "Lattice" else "wrong_label",
            f"'{matrix[1]}' is not made of nine numbers in quotes, such as {matrix[1]}=\"4 0 0 0 4 0 0 0 4\"",
        ) from error


def last_number_is_cut(rows: list[str]) -> bool:
    """Return whether all numbers of a table have the same number of decimals, and the very last has fewer."""
    *decimals, last = [len(word.partition(".")[2]) for row in rows for word in row.split()[1:]] or [0]
    return bool(decimals) and len(set(decimals)) == 1 and last < decimals[0]


def _keys(facts: str) -> set[str]:
    """Return the keys of the second line of a frame that have a value."""
    return set(KEY.findall(QUOTED.sub('""', facts)))


def _check_keys(facts: str) -> None:
    """Refuse a key that is stated twice, and a name of the format in other letters, which its reader ignores.

    Raises
    ------
    UnusableError
        ``unreadable`` with the key.
    """
    keys = KEY.findall(QUOTED.sub('""', facts))
    twice = next((key for k, key in enumerate(keys) if key in keys[:k]), None)
    if twice is not None:
        raise UnusableError("unreadable", f"'{twice}' is stated twice in the second line of the frame")
    for key in keys:
        right = SPELLED.get(key.lower(), key)
        if right != key:
            raise UnusableError("unreadable", f"'{key}' is no key of extended XYZ; spell it '{right}'")


def _periodic(facts: str) -> list[bool] | None:
    """Return the three flags of ``pbc``, of which one may stand for all; None where there is no such key.

    Raises
    ------
    UnusableError
        ``no_cell`` with the words that are no such flags.
    """
    found = PBC.search(facts)
    if found is None:
        return None
    words = re.findall(r"[^\s,\[\]{}()\"']+", found[1])
    flags = [FLAGS[word.lower()] for word in words if word.lower() in FLAGS]
    if len(flags) != len(words) or len(flags) not in (1, 3):
        raise UnusableError("no_cell", f'pbc is {found[1]}, expected three of T and F in quotes, such as pbc="T T F"')
    return flags if len(flags) == 3 else 3 * flags


def _check_columns(facts: str, rows: list[str]) -> list[str]:
    """Refuse a frame whose columns hold no positions, or whose rows have other columns than it states.

    Returns
    -------
    list of str
        Name of each column; one of three numbers has its name three times.

    Raises
    ------
    UnusableError
        ``no_coordinates`` or ``wrong_count``.
    """
    columns = _columns(facts)
    names = [name for name, _, _ in columns]
    twice = next((name for k, name in enumerate(names) if name in names[:k]), None)
    if twice is not None:
        raise UnusableError("unreadable", f"Properties states the column '{twice}' twice")
    if not {"pos", "positions"} & set(names):
        raise UnusableError("no_coordinates", f"the columns {', '.join(names)} have no 'pos' with Cartesian positions in Å")
    if not ELEMENT_COLUMNS & set(names):
        raise UnusableError("no_elements", f"the columns {', '.join(names)} have no 'species' with chemical symbols")
    if "I" in {kind for name, kind, _ in columns if name in ("species", "symbols")}:
        raise UnusableError("no_elements", "the column 'species' is of numbers: write chemical symbols, as species:S:1")
    width = sum(int(count) for _, _, count in columns)
    short = next((k for k, row in enumerate(rows) if len(row.split()) < width), None)
    if short is not None:
        count = len(rows[short].split())
        raise UnusableError("wrong_count", f"the row of atom {short} has {count} columns, expected {width}")
    return [name for name, _, count in columns for _ in range(int(count))]


def _with_species(facts: str, rows: list[str], options: ReadOptions) -> tuple[str, list[str], list[str]]:
    """Return a frame with the elements of the option ``species`` in place of types and names of atoms.

    A symbol of the file counts, and a remark says so where the option names another element for it.
    """
    names = [name for name, _, count in _columns(facts) for _ in range(int(count))]
    if not options.species or "species" not in names:
        return facts, rows, []
    given, at = dict(options.species), names.index("species")
    words = [row.split() for row in rows]
    other = any(len(row) > at and is_symbol(row[at]) and given.get(row[at], row[at]) != row[at] for row in words)
    for row in words:
        if len(row) > at and row[at] in given and not is_symbol(row[at]):
            row[at] = given[row[at]]
    if all(len(row) > at and is_symbol(row[at]) for row in words):
        facts = facts.replace("species:I:1", "species:S:1")
    remark = ["elements are those of the file, and the option species is not used for their atoms"] if other else []
    return facts, [" ".join(row) for row in words], remark


def _refuse_second_column(facts: str, rows: list[str]) -> None:
    """Refuse plain rows with an atomic number or a flag between symbol and positions, as GAMESS and Gaussian have them.

    Raises
    ------
    UnusableError
        ``no_coordinates``
    """
    words = [row.split() for row in rows]
    if "Properties" in facts or any(
        len(row) < len("Zxyz") + 1 or not all("." in word for word in row[2:5]) for row in words
    ):
        return
    flags = all(row[1].lstrip("-").isdigit() for row in words)
    charges = all(
        is_symbol(row[0].capitalize()) and float(row[1]) == atomic_numbers_of([row[0].capitalize()])[0] for row in words
    )
    if flags or charges:
        what = "a flag" if flags and not charges else "an atomic number"
        raise UnusableError(
            "no_coordinates", f"the second column is {what}; an XYZ row begins with the symbol, then come x, y, z"
        )


def _columns(facts: str) -> list[tuple[str, str, str]]:
    """Return name, kind and count of the columns that the second line of a frame states; those of plain XYZ else."""
    found = re.search(r"""(?<!\S)Properties\s*=\s*["']?([^\s"']+)""", facts)
    return COLUMN.findall(found[1]) if found else [("species", "S", "1"), ("pos", "R", "3")]


def _refuse_words(facts: str, rows: list[str]) -> None:
    """Refuse a word in a column of numbers; called where ASE's reader failed.

    Raises
    ------
    UnusableError
        ``no_coordinates`` or ``unreadable`` with the atom, the column and the word.
    """
    kinds = [(name, kind) for name, kind, count in _columns(facts) for _ in range(int(count))]
    for k, row in enumerate(rows):
        for (name, kind), word in zip(kinds, row.split(), strict=False):
            if kind in "RrIi" and not re.fullmatch(NUMBER, word):
                of_positions = name in ("pos", "positions")
                order = "; an XYZ row begins with the symbol, then come x, y, z" if of_positions else ""
                raise UnusableError(
                    "no_coordinates" if of_positions else "unreadable",
                    f"the row of atom {k} has {word!r} where a number of '{name}' is expected{order}",
                )


def _on_symbols(names: list[str], rows: list[str]) -> list[str]:
    """Return a remark about symbols in capitals, which may be names of atoms; refuse two columns that disagree.

    Raises
    ------
    UnusableError
        ``no_elements`` where a symbol and an atomic number of a row are two elements.
    """
    if "species" not in names:
        return []
    words = [row.split()[names.index("species")] for row in rows]
    if "Z" in names:
        stated = [row.split()[names.index("Z")] for row in rows]
        for k, (word, z) in enumerate(zip(words, stated, strict=True)):
            if is_symbol(word.capitalize()) and atomic_numbers_of([word.capitalize()]) != [int(z)]:
                raise UnusableError("no_elements", f"the row of atom {k} states {word} and Z = {z}")
    capitals = sorted({word for word in words if len(word) == 2 and word.isupper()})
    if not capitals:
        return []
    read = ", ".join(f"{word} as {word.capitalize()}" for word in capitals)
    return [f"symbols in capitals are read as elements, not as names of atoms: {read}"]


def _on_width(names: list[str], rows: list[str]) -> list[str]:
    """Return a remark about columns behind those that the frame states, or behind the four of plain XYZ."""
    widest = max(map(len, map(str.split, rows)))
    if widest <= len(names):
        return []
    return ignored([f"column {widest}" if widest == len(names) + 1 else f"columns {len(names) + 1} to {widest}"])


def _on_length(facts: str, atoms: Any, said: tuple[str, ...]) -> list[str]:
    """Return a remark about words that state positions in another unit than Å, unless a remark names them already."""
    if any(POSITIONS_TAKEN in remark for remark in said):
        return []
    return on_units_of_positions(VALUE.sub('=""', facts), has_gold=bool((atoms.numbers == GOLD).any()))


def _check_cell(atoms: Any) -> None:
    """Refuse a frame without ``Lattice`` in which another key has nine numbers and the name of a cell.

    Raises
    ------
    UnusableError
        ``no_cell`` with the key.
    """
    if atoms.cell.any():
        return
    for key, value in atoms.info.items():
        if LIKE_A_CELL.search(key) and getattr(value, "size", 0) in (3, 6, 9):
            raise UnusableError("no_cell", f"there is no Lattice, and '{key}' looks like a cell; call it Lattice")


def _nine(found: re.Match[str]) -> str:
    """Return a tensor of six numbers, in Voigt order xx, yy, zz, yz, xz, xy, as the nine that ASE's reader wants."""
    words = found["numbers"].replace(",", " ").split()
    return f'{found["key"]}="{" ".join(words[k] for k in (0, 5, 4, 5, 1, 3, 4, 3, 2))}"'
