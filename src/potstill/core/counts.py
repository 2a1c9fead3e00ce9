"""Counts with their nouns, for sentences on pages and on the terminal."""

from __future__ import annotations


def several(count: int, noun: str) -> str:
    """Return a count with its noun, in the plural unless the count is 1.

    >>> several(1, "structure"), several(5595, "structure"), several(0, "trajectory")
    ('1 structure', '5,595 structures', '0 trajectories')
    """
    if count == 1:
        return f"1 {noun}"
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {plural}"
