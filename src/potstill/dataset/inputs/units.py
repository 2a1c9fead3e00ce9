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

LENGTH = r"(?-i:a\.?u\.?|A\.?U\.?|nm|pm)|nanomet(?:er|re)s?|picomet(?:er|re)s?|bohrs?|atomic[ _-]?units?"  # 'Au' is gold
END = r"(?![\w/^-])"
OF_POSITIONS = r"positions?|coord\w*|geom\w*|xyz"
POSITIONS_IN = re.compile(  # the sign of a unit, and the unit
    rf"^\W*(?P<alone>{LENGTH}){END}\W*$"
    rf"|(?:\bunits?\b\W*(?:(?:is|are|in|of)\b\W*)?|\b(?:{OF_POSITIONS})\W+(?:(?:is|are)\W+)?(?:in\W+)?)(?P<stated>{LENGTH}){END}"
    rf"|\bin\W+(?P<within>{LENGTH}){END}",
    re.IGNORECASE,
)
OF_A_LENGTH = re.compile(
    r"size|diamet|radi(us|i)|cutoff|wave|width|thick|long|wide|scale|shift|energ|forc|gradient|stress|pressure",
    re.IGNORECASE,
)
POSITIONS_TAKEN = "positions are taken in Å"
MAY_BE_GOLD = frozenset({"AU", "au"})


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
    return [f"the comment says '{words[0]}', and {POSITIONS_TAKEN}, energies in eV"] if words else []


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


def on_units_of_positions(comment: str, *, has_gold: bool) -> list[str]:
    """Return a remark where words of a comment state positions in another unit than Å, as in ``geometry in AU``.

    Parameters
    ----------
    comment
        Comment of a frame of XYZ, without what stands in quotes.
    has_gold
        Whether an atom is gold, so that ``AU`` may be its symbol.
    """
    for found in POSITIONS_IN.finditer(comment):
        unit = next(word for word in found.groups() if word)
        before = comment[: found.start()]
        if has_gold and unit in MAY_BE_GOLD:
            continue
        if found["within"] and not re.search(OF_POSITIONS, before, re.IGNORECASE) and _names_another(before):
            continue
        return [f"the comment says '{' '.join(found[0].split())}', and {POSITIONS_TAKEN}"]
    return []


def _names_another(before: str) -> bool:
    """Return whether the words before ``in nm`` name another quantity than positions."""
    return bool(OF_A_LENGTH.search(before) or OTHER_QUANTITY.search(before))


def foreign_unit_of_key(key: str) -> str:
    """Return the unit other than eV and Å that a key has in its name, as ``stress_GPa`` has; nothing where there is none."""
    words = [
        word for word in re.split(r"[_\W]", key) if FOREIGN.search(f" {word} ") and not word.lower().startswith("atomic")
    ]
    return "" if not words or words[0] == key or "fock" in key.lower() else words[0]


def is_unit(key: str) -> bool:
    """Return whether a key names a unit, such as ``energy_unit`` or ``funit``."""
    return bool(UNIT_KEY.fullmatch(key))


def of_another_quantity(key: str) -> bool:
    """Return whether the unit is that of a quantity that is not read, such as a dipole or a time."""
    return bool(OTHER_QUANTITY.search(key))


def states_own_unit(value: Any) -> bool:
    """Return whether a stated unit is one of eV, Å, and of those made of them."""
    return bool(OWN.fullmatch(str(value).strip()))
