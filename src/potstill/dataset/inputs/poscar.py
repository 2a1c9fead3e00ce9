"""VASP's POSCAR, CONTCAR and files with the same head: their elements are named in them, or by an option."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import Any

from potstill.dataset.inputs.atoms import frame_from
from potstill.dataset.inputs.charge import on_title
from potstill.dataset.inputs.fractional import refuse_pseudo_hydrogen
from potstill.dataset.inputs.numbers import with_plain_numbers
from potstill.dataset.inputs.options import ReadOptions
from potstill.dataset.inputs.species import is_symbol
from potstill.dataset.inputs.unusable import Frame, UnusableError, text_of
from potstill.dataset.inputs.xyz import last_number_is_cut


def with_symbols(text: str, options: ReadOptions) -> str:
    """Return the text with a line of symbols, from the option ``species`` where the file has none.

    A file in the style of VASP 4 has counts where the symbols stand today. Its elements are taken from its first line where
    that is made of as many symbols as there are counts, which is how VASP 4 files state them.

    Raises
    ------
    UnusableError
        ``no_elements`` where neither names the elements.
    """
    lines = text.splitlines(keepends=True)
    if len(lines) < 7 or not lines[5].split()[:1] or not lines[5].split()[0].isdigit():
        return text
    counts = list(itertools.takewhile(str.isdigit, lines[5].split()))
    words = lines[0].split()
    given = dict(options.species)
    if len(words) == len(counts) and all(map(is_symbol, words)):
        symbols = words
    elif all(str(k + 1) in given for k in range(len(counts))):
        symbols = [given[str(k + 1)] for k in range(len(counts))]
    else:
        raise UnusableError(
            "no_elements",
            f"there is no line of symbols before the counts {' '.join(counts)}; add one, "
            "or name the elements of its types by species: {1: Si, …}, --species 1=Si",
        )
    return "".join([*lines[:5], " ".join(symbols) + "\n", *lines[5:]])


def check_poscar(text: str) -> None:
    """Compare the rows of a POSCAR with its counts: ASE reads a row of one number as three times that number.

    Raises
    ------
    UnusableError
        If a row is missing or is no position.
    """
    lines = text.splitlines()
    at = next((k for k in (5, 6) if k < len(lines) and lines[k].split()[:1] and lines[k].split()[0].isdigit()), None)
    if at is None:
        raise UnusableError("unreadable", "there are no counts of atoms in its sixth or seventh line")
    counts = list(itertools.takewhile(str.isdigit, lines[at].split()))
    symbols = lines[at - 1].split("!")[0].split() if at == 6 else counts
    if len(symbols) != len(counts):
        raise UnusableError("wrong_count", f"{len(symbols)} symbols are stated, and {len(counts)} counts")
    stated = sum(int(word) for word in counts)
    selective = len(lines) > at + 1 and lines[at + 1].strip()[:1] in ("S", "s")
    rows = lines[at + 2 + selective :][:stated]
    found = sum(_is_position(row.split()[:3]) for row in rows)
    if stated != found:
        raise UnusableError("wrong_count", f"{stated} atoms are stated, {found} positions follow")
    beyond = lines[at + 2 + selective + stated :]  # velocities come after an empty line or a heading
    more = len(list(itertools.takewhile(lambda row: _is_position(row.split()[:3]), beyond)))
    if more:
        raise UnusableError("wrong_count", f"{stated} atoms are stated, {stated + more} positions follow")
    if len(rows) == stated and not text.endswith("\n") and rows[-1] is lines[-1]:
        words = [f"X {' '.join(row.split()[:3])}" for row in rows]
        if len(rows[-1].split()) == 3 and last_number_is_cut(words):
            raise UnusableError("unreadable", "the file ends within its last number")


def _is_position(words: list[str]) -> bool:
    try:
        return len([float(word) for word in words]) == 3
    except ValueError:
        return False


def poscar_frame(path: Path, options: ReadOptions) -> Frame:
    """Return the structure of a POSCAR, compressed or not.

    Raises
    ------
    UnusableError
        If its elements are not named, or its rows do not fit its counts.
    """
    from ase.io import read

    plain = with_plain_numbers(text_of(path))
    text = with_symbols(plain, options)
    check_poscar(text)
    refuse_pseudo_hydrogen(text.splitlines()[5].split())
    try:
        atoms: Any = read(io.StringIO(text), format="vasp")
    except KeyError as error:
        raise UnusableError(
            "unknown_element", f"{error} is no chemical symbol; deuterium is H for a teacher, and a pseudo-hydrogen no atom"
        ) from error
    except ValueError as error:
        raise UnusableError("unreadable", f"a row, or a line behind the positions, is not as expected: {error}") from error
    return frame_from(atoms, options).with_remarks(*on_title(plain.partition("\n")[0]))
