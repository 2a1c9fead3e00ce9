"""Spellings of input files that their programs allow and ASE's readers do not: the text in the spelling that those read."""

from __future__ import annotations

import re
from collections.abc import Callable

from potstill.dataset.inputs.numbers import NUMBER, number_of
from potstill.dataset.inputs.unusable import UnusableError

LINES = re.MULTILINE | re.IGNORECASE
GEOMETRY = re.compile(
    r"^[ \t]*geometry\b[^\n]*\n"
    r"(?:[ \t]*(?:system|zmat\w*|zcoord)\b.*?^[ \t]*end[ \t]*\n|(?![ \t]*end\b)[^\n]*\n)*[ \t]*end[ \t]*$",
    LINES | re.DOTALL,
)
ATOM = re.compile(rf"[ \t]*([A-Za-z]+\S*)((?:[ \t]+{NUMBER}){{3}})[ \t]*(\S[^\n]*)?")
REPEATED = re.compile(r"(?<!\S)(\d{1,4})\*([-+]?[\d.][^\s*]*)(?!\S)")
FRACTION = re.compile(r"(?<!\S)([-+]?\d+(?:\.\d*)?)/(0*[1-9]\d*)(?!\S)")
LENGTH_A = re.compile(rf"^((?:[^!'\n]*[\s,])?)A(\s*=\s*)({NUMBER})", LINES)
OF_FRAGMENTS = re.compile(r"^[ \t]*[-+]?\d+[ \t]*,[ \t]*\d+(?:[ \t,]+[-+]?\d+[ \t]*,[ \t]*\d+)*[ \t]*$", re.MULTILINE)


def spelled(text: str, format_name: str) -> str:
    """Return the text of an input file of one of the formats :data:`SPELLINGS` as ASE's reader spells it.

    Raises
    ------
    UnusableError
        ``no_elements`` for a row that the reader would drop.
    """
    return SPELLINGS[format_name](text)


def _of_nwchem(text: str) -> str:
    """Return the text with symbols in capitals, no blanks at the ends of lines, and an empty line behind each geometry."""
    return GEOMETRY.sub(_geometry, text + "\n")


def _geometry(block: re.Match[str]) -> str:
    return "\n".join(map(_row, block[0].splitlines())) + "\n\n"


def _row(line: str) -> str:
    atom = ATOM.fullmatch(line)
    if atom is None:
        return line.rstrip()
    if len(atom[1]) > len("Si") or not atom[1].isalpha() or atom[3]:
        raise UnusableError(
            "no_elements",
            f"the row {line.strip()[:40]!r} is not a chemical symbol and three numbers, and its reader drops it",
        )
    return f" {atom[1].capitalize()}{atom[2]}"


def _of_gaussian(text: str) -> str:
    """Return the text with blanks in place of commas between charges and multiplicities of fragments."""
    return OF_FRAGMENTS.sub(lambda line: line[0].replace(",", " "), text)


def _of_abinit(text: str) -> str:
    """Return the text with ``3*10.26`` written out as three numbers, ``1/2`` as 0.5, and ``rprim`` where it is missing."""
    if not re.search(r"^[ \t]*(rprim|angdeg)\b", text, LINES):
        text += "\nrprim 1 0 0 0 1 0 0 0 1\n"
    text = REPEATED.sub(lambda found: " ".join([found[2]] * int(found[1])), text)
    return FRACTION.sub(lambda found: repr(float(found[1]) / float(found[2])), text)


def _of_espresso(text: str) -> str:
    """Return the text with ``celldm(1)`` in Bohr in place of ``A`` in Å, which the reader ignores."""
    from ase.units import Bohr

    return LENGTH_A.sub(lambda found: f"{found[1]}celldm(1){found[2]}{number_of(found[3]) / Bohr:.12g}", text)


SPELLINGS: dict[str, Callable[[str], str]] = {
    "abinit-in": _of_abinit,
    "espresso-in": _of_espresso,
    "gaussian-in": _of_gaussian,
    "nwchem-in": _of_nwchem,
}
