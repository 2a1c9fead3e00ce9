"""Numbers as Fortran writes them, with the exponents ``d`` and ``D``, which readers in Python refuse."""

from __future__ import annotations

import re

NUMBER = r"[-+]?\d+\.?\d*(?:[eEdD][-+]?\d+)?"
FORTRAN = re.compile(r"""(?<![\w.+-])([-+]?(?:\d+\.\d*|\.\d+))[dD]([-+]?\d+)(?![\w.])""")
MAY_BE = re.compile(r"[dD][-+\d]")  # quick to look for


def number_of(word: str) -> float:
    """Return the number that a word is, with an exponent of either language."""
    return float(word.replace("D", "e").replace("d", "e"))


def with_plain_numbers(text: str) -> str:
    """Return text in which ``1.5d0`` is ``1.5e0``. Only numbers with a decimal point are meant: ``3d2`` may be a name."""
    return FORTRAN.sub(r"\1e\2", text) if MAY_BE.search(text) else text
