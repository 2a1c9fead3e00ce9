"""Labels that the teacher gives again, beside those in the file."""

from __future__ import annotations

import math

import numpy as np

from potstill.core.types import Labels, Structure


def label_gap(structure: Structure, again: Labels | None) -> float:
    """Return the largest difference between stored and repeated labels: eV per atom, eV/Å or eV/Å^3."""
    stored = structure.labels
    if again is None or stored is None:
        return math.inf
    gaps = [abs(again.energy - stored.energy) / len(structure), float(np.abs(again.forces - stored.forces).max())]
    if (again.stress is None) != (stored.stress is None):
        return math.inf
    if again.stress is not None and stored.stress is not None:
        gaps.append(float(np.abs(again.stress - stored.stress).max()))
    largest = float(np.max(gaps))
    return math.inf if math.isnan(largest) else largest
