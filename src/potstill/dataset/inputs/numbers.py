"""Numbers as Fortran writes them, with the exponents ``d`` and ``D``, which readers in Python refuse."""

from __future__ import annotations

import re

FORTRAN = re.compile(r"""(?<![\w.+-])([-+]?(?:\d+\.\d*|\.\d+))[dD]([-+]?\d+)(?![\w.])""")
MAY_BE = re.compile(r"[dD][-+\d]")  # quick to look for


def with_plain_numbers(text: str) -> str:
    """Return text in which ``1.5d0`` is ``1.5e0``. Only numbers with a decimal point are meant: ``3d2`` may be a name."""
    return FORTRAN.sub(r"\1e\2", text) if MAY_BE.search(text) else text
