"""Verdicts, and the finding of one check: a figure with its limit.

A figure that is not finite never passes. A figure that could not be measured is NOT_RUN, which is not a pass. A check with
no data of its kind to look at is DOES_NOT_APPLY: neither a pass nor a failure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from pydantic import BaseModel


class Verdict(StrEnum):
    """Outcome of one check. A check that did not run never counts as passed."""

    GO = "GO"
    WARN = "WARN"
    NO_GO = "NO_GO"
    NOT_RUN = "NOT_RUN"
    DOES_NOT_APPLY = "DOES_NOT_APPLY"


PASSED = (Verdict.GO, Verdict.WARN)
WORDS = {
    Verdict.GO: "GO",
    Verdict.WARN: "WARNING",
    Verdict.NO_GO: "NO-GO",
    Verdict.NOT_RUN: "NOT RUN",
    Verdict.DOES_NOT_APPLY: "does not apply",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: a number with its limit and unit.

    Parameters
    ----------
    check
        Name of the check.
    verdict
        GO, WARN, NO_GO, NOT_RUN or DOES_NOT_APPLY.
    measured, limit
        The measured figure and its limit; None where the check did not run or does not apply.
    unit
        Unit of both.
    why
        One sentence that the user can act upon.
    worst
        Ids of the structures to look at first.
    covered
        Number of structures that the check could look at; None where it looks at all, or does not tell.
    covered_stresses
        Number of structures whose stresses it could look at; None as before.
    """

    check: str
    verdict: Verdict
    measured: float | None
    limit: float | None
    unit: str
    why: str
    worst: tuple[str, ...] = ()
    covered: int | None = None
    covered_stresses: int | None = None


WORST = 8


def at_least(check: str, measured: float, limit: float, unit: str, why: str, worst: Sequence[str] = ()) -> Finding:
    """Return GO where measured >= limit, else NO_GO; a figure that is not finite never passes."""
    return _finding(check, measured >= limit, measured, limit, unit, why, worst)


def at_most(check: str, measured: float, limit: float, unit: str, why: str, worst: Sequence[str] = ()) -> Finding:
    """Return GO where measured <= limit, else NO_GO; a figure that is not finite never passes."""
    return _finding(check, measured <= limit, measured, limit, unit, why, worst)


def warned(finding: Finding) -> Finding:
    """Return WARN in place of NO_GO where there is a figure, because only the user can judge the figure."""
    if finding.verdict != Verdict.NO_GO or finding.measured is None:
        return finding
    return replace(finding, verdict=Verdict.WARN)


def not_run(check: str, unit: str, why: str) -> Finding:
    """Return NOT_RUN, which is not a pass, for a required check that could not run."""
    return Finding(check, Verdict.NOT_RUN, None, None, unit, why)


def does_not_apply(check: str, unit: str, why: str) -> Finding:
    """Return DOES_NOT_APPLY for a check that has nothing to look at in such data: neither a pass nor a failure."""
    return Finding(check, Verdict.DOES_NOT_APPLY, None, None, unit, why)


def _finding(check: str, passed: bool, measured: float, limit: float, unit: str, why: str, worst: Sequence[str]) -> Finding:
    if not math.isfinite(measured):
        return Finding(check, Verdict.NO_GO, None, float(limit), unit, f"not finite; {why}", tuple(worst[:WORST]))
    verdict = Verdict.GO if passed else Verdict.NO_GO
    return Finding(check, verdict, float(measured), float(limit), unit, why, tuple(worst[:WORST]))


def word_of(verdict: str) -> str:
    """Return the word of a verdict for people, the same on every page and on the terminal; JSON has the verdict itself.

    >>> word_of("NO_GO"), word_of("DOES_NOT_APPLY")
    ('NO-GO', 'does not apply')
    """
    return WORDS[Verdict(verdict)] if verdict in Verdict.__members__ else verdict


def is_pass(verdict: str) -> bool:
    """Return whether a verdict is a pass: GO or WARN."""
    return verdict in PASSED


def is_failure(verdict: str) -> bool:
    """Return whether a verdict stops a GO: NO_GO, NOT_RUN, and any word that is no verdict."""
    return verdict not in (*PASSED, Verdict.DOES_NOT_APPLY)


def overall(verdicts: Iterable[str]) -> Verdict:
    """Return GO where at least one verdict is a pass and none is a failure, else NO_GO."""
    found = list(verdicts)
    return Verdict.GO if any(map(is_pass, found)) and not any(map(is_failure, found)) else Verdict.NO_GO


def overall_verdict(findings: Sequence[Finding]) -> Verdict:
    """Return the verdict over findings, see :func:`overall`."""
    return overall(finding.verdict for finding in findings)


def changed_gates(gates: BaseModel) -> dict[str, dict[str, Any]]:
    """Return the limits that differ from the defaults, with both values; an entry of a table as ``option.key``."""
    default = type(gates)()
    found: dict[str, dict[str, Any]] = {}
    for name in type(gates).model_fields:
        before, now = getattr(default, name), getattr(gates, name)
        if isinstance(now, Mapping):
            keys = dict.fromkeys((*before, *now))
            found |= {f"{name}.{key}": {"default": before.get(key), "now": now.get(key)} for key in keys}
        else:
            found[name] = {"default": before, "now": now}
    return {name: both for name, both in found.items() if both["default"] != both["now"]}
