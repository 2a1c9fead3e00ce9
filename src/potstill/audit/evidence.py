"""What a check looks at, and how it says what it found.

Enters a measured figure with its limit, leaves a :class:`~potstill.types.Finding`. A figure that is not finite never passes,
and what cannot be measured is NOT_RUN, which is not a pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from potstill.dataset import Dataset
from potstill.stats import Statistics
from potstill.types import Array, Finding, Teacher, Verdict

if TYPE_CHECKING:
    from potstill.config import AuditConfig

WORST = 8


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a check may look at."""

    dataset: Dataset
    stats: Statistics
    gates: AuditConfig
    teacher: Callable[[], Teacher] | None = None
    seed: int = 0


Check = Callable[[Evidence], Finding]


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


def largest_first(stats: Statistics, values: Array, *, above: float = -np.inf) -> list[str]:
    """Ids of the structures with the largest values, what is not finite before all else."""
    ranked = np.where(np.isnan(values), -np.inf, values)
    order = np.argsort(-ranked, kind="stable")[:WORST]
    return [stats.ids[k] for k in order if ranked[k] > above]


def largest(values: Array) -> float:
    """Largest of the values that are not NaN, 0 where there is none: what does not apply to a structure is NaN."""
    values = values[~np.isnan(values)]
    return float(values.max()) if values.size else 0.0


def _finding(check: str, passed: bool, measured: float, limit: float, unit: str, why: str, worst: Sequence[str]) -> Finding:
    if not math.isfinite(measured):
        return Finding(check, Verdict.NO_GO, None, float(limit), unit, f"not finite; {why}", tuple(worst[:WORST]))
    verdict = Verdict.GO if passed else Verdict.NO_GO
    return Finding(check, verdict, float(measured), float(limit), unit, why, tuple(worst[:WORST]))
