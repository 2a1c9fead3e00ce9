"""Units that a file states beside its numbers: those of potstill are taken, others are refused, none is converted."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from potstill.dataset.inputs.unusable import UnusableError

UNIT_KEY = re.compile(r"(\w+_)?units?(_\w+)?|\w*units?", re.IGNORECASE)
OTHER_QUANTITY = re.compile(r"dipol|charge|time|temp|polari|freq|mass|angle|magn|veloc|moment|cell$|angular", re.IGNORECASE)
OWN = re.compile(
    r"ev|ev/atom|(ev/)?(a|å|ang|angstroms?)((\^|\*\*)?3)?|fs|k|ase|metal|none|ev[,; ]+(a|å|ang|angstroms?)", re.IGNORECASE
)
FOREIGN = re.compile(
    r"hartree|bohr|\bm?ha\b|\bm?eh\b|\ba\.?u\.?\b|atomic|kcal|kj|rydberg|\bm?ry\b|\bmev\b|joule|\bj\b|[gmk]pa\b|\bpa\b|k?bar\b"
    r"|\bnm\b|\bpm\b|nanomet|\bfm\b|\berg|\bn?newton|\bcm\b|^(real|lj|si|cgs|electron|micro|nano)$",
    re.IGNORECASE,
)
LONGEST_UNIT = 3  # letters of a word that may be a unit
NAMES_UNIT = re.compile(r"bohr|hartree|a\.u\.|atomic_units|rydberg|kcal|kj/", re.IGNORECASE)
BEHIND_NUMBER = re.compile(  # key, word
    r"""(?<!\S)([^\s=]+)\s*=\s*["']?[-+]?[\d.]+(?:[eEdD][-+]?\d+)?["']?[\s,;]+[\[({]?([A-Za-zÅ][^\s=\])}]*)[\])}]?(?!\S|\s*=)"""
)


def refuse_units(info: Mapping[str, Any]) -> list[str]:
    """Refuse a frame that states units other than eV, Å, eV/Å and eV/Å^3.

    Parameters
    ----------
    info
        Facts about the frame.

    Returns
    -------
    list of str
        A remark where the text of a comment names such a unit.

    Raises
    ------
    UnusableError
        ``units`` with the key and its value.
    """
    for key, value in info.items():
        if is_unit(key) and not of_another_quantity(key) and isinstance(value, str) and FOREIGN.search(value):
            raise UnusableError(
                "units", f"the frame states {key}={value}, expected eV, Å, eV/Å and eV/Å^3: convert it first"
            )
    words = [key for key, value in info.items() if value is True and NAMES_UNIT.search(key)]
    return [f"the comment says '{words[0]}', and positions are taken in Å, energies in eV"] if words else []


def refuse_units_behind(comment: str, labels: Collection[str]) -> list[str]:
    """Refuse a comment with a unit other than eV behind the number of a label, as in ``energy=-76.3 Ha``.

    Parameters
    ----------
    comment
        Comment of keys and values.
    labels
        Keys of the labels that are read.

    Returns
    -------
    list of str
        A remark where a word behind the number is no unit.

    Raises
    ------
    UnusableError
        ``units`` with the key and the unit.
    """
    for key, word in BEHIND_NUMBER.findall(comment):
        if key not in labels or states_own_unit(word):
            continue
        if FOREIGN.search(word):
            raise UnusableError("units", f"the comment states {key} in {word}, expected eV: convert it first")
        if len(word) <= LONGEST_UNIT or "/" in word:
            return [f"the comment says '{word}' behind {key}, which is taken in eV"]
    return []


def is_unit(key: str) -> bool:
    """Return whether a key names a unit, such as ``energy_unit`` or ``funit``."""
    return bool(UNIT_KEY.fullmatch(key))


def of_another_quantity(key: str) -> bool:
    """Return whether the unit is that of a quantity that is not read, such as a dipole or a time."""
    return bool(OTHER_QUANTITY.search(key))


def states_own_unit(value: Any) -> bool:
    """Return whether a stated unit is one of eV, Å, and of those made of them."""
    return bool(OWN.fullmatch(str(value).strip()))
