"""A verdict and the finding of one check: a figure with its limit.

A figure that is not finite never passes. What could not be measured is NOT_RUN, which is not a pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import BaseModel


class Verdict(StrEnum):
    """Outcome of one check. What did not run never counts as passed."""

    GO = "GO"
    WARN = "WARN"
    NO_GO = "NO_GO"
    NOT_RUN = "NOT_RUN"


@dataclass(frozen=True, slots=True)
class Finding:
    """A number with its limit and unit: the result of one audit check.

    Parameters
    ----------
    check
        Name of the check.
    verdict
        GO, WARN, NO_GO or NOT_RUN.
    measured, limit
        The figure found and the one it is held against; None where the check did not run.
    unit
        Unit of both.
    why
        One sentence a person can act upon.
    worst
        Ids of the structures to look at first.
    """

    check: str
    verdict: Verdict
    measured: float | None
    limit: float | None
    unit: str
    why: str
    worst: tuple[str, ...] = ()


WORST = 8


def at_least(check: str, measured: float, limit: float, unit: str, why: str, worst: Sequence[str] = ()) -> Finding:
    """GO where measured >= limit; a figure that is not finite never passes."""
    return _finding(check, measured >= limit, measured, limit, unit, why, worst)


def at_most(check: str, measured: float, limit: float, unit: str, why: str, worst: Sequence[str] = ()) -> Finding:
    """GO where measured <= limit; a figure that is not finite never passes."""
    return _finding(check, measured <= limit, measured, limit, unit, why, worst)


def warned(finding: Finding) -> Finding:
    """A matter to look at rather than a fault: WARN instead of NO_GO, where the figure is one."""
    if finding.verdict != Verdict.NO_GO or finding.measured is None:
        return finding
    return Finding(finding.check, Verdict.WARN, finding.measured, finding.limit, finding.unit, finding.why, finding.worst)


def not_run(check: str, unit: str, why: str) -> Finding:
    """A required check that could not run: never a pass."""
    return Finding(check, Verdict.NOT_RUN, None, None, unit, why)


def _finding(check: str, passed: bool, measured: float, limit: float, unit: str, why: str, worst: Sequence[str]) -> Finding:
    if not math.isfinite(measured):
        return Finding(check, Verdict.NO_GO, None, float(limit), unit, f"not finite; {why}", tuple(worst[:WORST]))
    verdict = Verdict.GO if passed else Verdict.NO_GO
    return Finding(check, verdict, float(measured), float(limit), unit, why, tuple(worst[:WORST]))


def overall_verdict(findings: Sequence[Finding]) -> Verdict:
    """GO only where there are findings and each is GO or WARN."""
    passed = (Verdict.GO, Verdict.WARN)
    return Verdict.GO if findings and all(f.verdict in passed for f in findings) else Verdict.NO_GO


def changed_gates(gates: BaseModel) -> dict[str, dict[str, Any]]:
    """Thresholds that differ from the defaults, with both values."""
    default = type(gates)()
    return {
        name: {"default": getattr(default, name), "now": getattr(gates, name)}
        for name in type(gates).model_fields
        if getattr(default, name) != getattr(gates, name)
    }
