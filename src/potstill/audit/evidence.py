"""Evidence for the checks, and functions to name the worst structures.

Findings are made by :mod:`potstill.core.verdict`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from potstill.core.types import Array, Teacher
from potstill.core.verdict import WORST, Finding
from potstill.dataset import Dataset
from potstill.stats import Statistics
from potstill.teacher.given import labels_given

if TYPE_CHECKING:
    from potstill.audit.options import AuditConfig


@dataclass(frozen=True, slots=True)
class Evidence:
    """Data that a check may use.

    Parameters
    ----------
    dataset, stats
        The file, and one row of measured values per structure.
    gates
        Section ``audit`` of the config.
    teacher
        Function that opens the teacher which repeats labels; None where none was named.
    seed
        Seed of random choices.
    of_run
        Whether the file must contain all that a run writes; False for a file of the user's own.
    of_batch
        Whether it is one batch of a run, whose families are divided again with those of the others.
    name
        Name of the file for people.
    kept
        Results that several checks need, by their names.
    """

    dataset: Dataset
    stats: Statistics
    gates: AuditConfig
    teacher: Callable[[], Teacher] | None = None
    seed: int = 0
    of_run: bool = True
    of_batch: bool = False
    name: str = "dataset.h5"
    kept: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def labels_given(self) -> bool:
        """Return whether the labels came with the user's files, and no teacher made them."""
        return labels_given(self.dataset.attributes)


Check = Callable[[Evidence], Finding]


def largest_first(stats: Statistics, values: Array, *, above: float = -np.inf) -> list[str]:
    """Return the ids of the structures with the largest values, values that are not finite first."""
    ranked = np.where(np.isnan(values), -np.inf, values)
    order = np.argsort(-ranked, kind="stable")[:WORST]
    return [stats.ids[k] for k in order if ranked[k] > above]


def largest(values: Array) -> float:
    """Return the largest of the values without NaN (which means not applicable); 0 where there is none."""
    values = values[~np.isnan(values)]
    return float(values.max()) if values.size else 0.0
