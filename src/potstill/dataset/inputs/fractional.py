"""Kinds of atoms that are a fraction of a nucleus, or a mix of two, as pseudopotentials state them.

Pseudo-hydrogens such as ``H.75`` and ``H1.25`` passivate the surfaces of semiconductors. They have the symbol H and another
valence. A virtual crystal has two elements at one place.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from potstill.dataset.inputs.numbers import NUMBER
from potstill.dataset.inputs.unusable import UnusableError

LINES = re.MULTILINE | re.IGNORECASE
HYDROGEN = re.compile(r"H[_-]?(\d?\.\d+)(?!\.?\d)")  # no version of a file, such as that of H.pbe-psl.1.0.0.UPF
SPECIES_OF_ESPRESSO = re.compile(rf"^\s*ATOMIC_SPECIES[^\n]*\n((?:[ \t]*\S+[ \t]+{NUMBER}[ \t]+\S[^\n]*\n?)+)", LINES)
NAMES = {  # pattern of the places that name a pseudopotential
    "vasp-xml": r"<rc><c>[^<]*</c><c>[^<]*</c><c>[^<]*</c><c>[^<]*</c><c>\s*([^<]*)</c></rc>",
    "vasp-out": r"^\s*(?:POTCAR:|TITEL\s*=)\s*([^\n]*)",
    "vasp-xdatcar": r"\A(?:[^\n]*\n){5}([^\n]*)",
}
VALENCES = {
    "vasp-xml": r"<rc><c>[^<]*</c><c>[^<]*</c><c>[^<]*</c><c>\s*([\d.]+)\s*</c><c>[^<]*</c></rc>",
    "vasp-out": r"^\s*ZVAL\s*=((?:\s+\d+\.\d*)+)\s*$",
    "espresso-out": r"^[ \t]+[A-Z][\w-]*[ \t]+(\d+\.\d+)[ \t]+\d+\.\d+[ \t]+[A-Z][\w-]*[ \t]*\([ \t]*\d",
}
VIRTUAL = {
    "vasp-xml": r"""name="VCA"[^>]*>([^<]*)<""",
    "vasp-out": r"^\s*VCA\s*=((?:[ \t]+\d+\.?\d*)+)",
}
FRACTION = 1e-3
SAME_PLACE = 6  # decimals of Å or of a lattice vector


def refuse_fractional(text: str, format_name: str) -> None:
    """Refuse a file of VASP or Quantum ESPRESSO whose pseudopotentials are those of pseudo-atoms or of a virtual crystal.

    Raises
    ------
    UnusableError
        ``unknown_element`` or ``disordered``.
    """
    for words in _found(VIRTUAL, format_name, text):
        if any(abs(float(word) - 1) > FRACTION for word in words.split()):
            raise UnusableError("disordered", f"VCA is {' '.join(words.split())}: a virtual crystal has mixed sites")
    for words in _found(NAMES, format_name, text):
        refuse_pseudo_hydrogen(words.split())
    for words in _found(VALENCES, format_name, text):
        for word in words.split():
            if abs(float(word) - round(float(word))) > FRACTION:
                raise UnusableError(
                    "unknown_element", f"a pseudopotential has the valence {word}, which is that of no element"
                )
    if format_name == "espresso-in":
        for rows in SPECIES_OF_ESPRESSO.finditer(text):
            refuse_pseudo_hydrogen(word for row in rows[1].splitlines() for word in row.split()[::2])


def refuse_pseudo_hydrogen(words: Iterable[str]) -> None:
    """Refuse names such as ``H.75``, ``H1.25`` and ``H_0.5``.

    Raises
    ------
    UnusableError
        ``unknown_element`` with the name.
    """
    for word in words:
        found = HYDROGEN.match(word)
        valence = float(found[1]) if found else 1.0
        if valence % 1 and valence < 2:
            raise UnusableError(
                "unknown_element", f"{word} is a pseudo-hydrogen of valence {valence:g}, and that is no element"
            )


def refuse_mixed_places(atoms: Any) -> None:
    """Refuse two elements at one place, which a virtual crystal or a mixed site is written as.

    Raises
    ------
    UnusableError
        ``disordered`` with both atoms.
    """
    periodic = np.asarray(atoms.pbc, bool) & np.asarray(atoms.cell, float).any(axis=1)
    whole = atoms.cell.complete() if periodic.any() else np.eye(3)
    places = np.round(atoms.positions @ np.linalg.pinv(np.asarray(whole)), SAME_PLACE)
    places[:, periodic] %= 1.0
    _, group = np.unique(places, axis=0, return_inverse=True)
    group = np.ravel(group)
    order = np.argsort(group, kind="stable")
    pairs = itertools.pairwise(order)
    found = next(((i, j) for i, j in pairs if group[i] == group[j] and atoms.numbers[i] != atoms.numbers[j]), None)
    if found is not None:
        first, second = (atoms.symbols[k] for k in found)
        raise UnusableError(
            "disordered", f"atoms {found[0]} ({first}) and {found[1]} ({second}) are at one place, as on a mixed site"
        )


def _found(patterns: dict[str, str], format_name: str, text: str) -> Iterable[str]:
    return re.findall(patterns[format_name], text, LINES) if format_name in patterns else ()
