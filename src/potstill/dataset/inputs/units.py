"""Units that a file states beside its numbers: those of potstill are taken, others are refused, none is converted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from potstill.dataset.inputs.unusable import UnusableError

ABOUT = re.compile(r"energ|force|stress|virial|pos|length|coord|cell|lattice|dist|^units?$", re.IGNORECASE)
FOREIGN = re.compile(
    r"hartree|bohr|\bha\b|\ba\.?u\.?\b|atomic|kcal|kj|rydberg|\bry\b|\bmev\b|joule|\bj\b|[gmk]pa\b|\bpa\b|k?bar\b"
    r"|\bnm\b|\bpm\b|nanomet|\bfm\b|^(real|lj|si|cgs|electron|micro|nano)$",
    re.IGNORECASE,
)
BOHR = re.compile(r"bohr|hartree|a\.u\.|atomic_units", re.IGNORECASE)


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
        if isinstance(value, str) and "unit" in key.lower() and ABOUT.search(key) and FOREIGN.search(value):
            raise UnusableError(
                "units", f"the frame states {key}={value}, expected eV, Å, eV/Å and eV/Å^3: convert it first"
            )
    words = [key for key, value in info.items() if value is True and BOHR.search(key)]
    return [f"the comment says '{words[0]}', and positions are taken in Å, energies in eV"] if words else []
