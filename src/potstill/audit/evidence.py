"""What a check looks at, and how it says what it found.

Findings are made by :mod:`potstill.core.verdict`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from potstill.core.types import Array, Teacher
from potstill.core.verdict import WORST, Finding
from potstill.dataset import Dataset
from potstill.stats import Statistics

if TYPE_CHECKING:
    from potstill.audit.options import AuditConfig


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a check may look at."""

    dataset: Dataset
    stats: Statistics
    gates: AuditConfig
    teacher: Callable[[], Teacher] | None = None
    seed: int = 0


Check = Callable[[Evidence], Finding]


def largest_first(stats: Statistics, values: Array, *, above: float = -np.inf) -> list[str]:
    """Ids of the structures with the largest values, what is not finite before all else."""
    ranked = np.where(np.isnan(values), -np.inf, values)
    order = np.argsort(-ranked, kind="stable")[:WORST]
    return [stats.ids[k] for k in order if ranked[k] > above]


def largest(values: Array) -> float:
    """Largest of the values that are not NaN, 0 where there is none: what does not apply to a structure is NaN."""
    values = values[~np.isnan(values)]
    return float(values.max()) if values.size else 0.0
