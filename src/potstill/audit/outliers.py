"""Robust distances of labels from the median of their kind, which a few wrong values do not move."""

from __future__ import annotations

import numpy as np

from potstill.core.types import Array
from potstill.stats import Statistics

GAUSS = 1.4826  # median absolute deviation of a normal distribution, in standard deviations
ROUNDS = 5


def energy_residuals(stats: Statistics) -> Array:
    """Return (S,) energies per atom less the share of each element times its reference energy, in eV/atom."""
    reference = reference_energies(stats)
    residual = np.full(len(stats), np.nan)
    if reference:
        elements = list(reference)
        share = stats.composition[:, elements] / stats.atoms[:, None]
        known = np.isfinite(stats.energy_per_atom)
        residual[known] = stats.energy_per_atom[known] - share[known] @ np.array(list(reference.values()))
    return residual


def reference_energies(stats: Statistics) -> dict[int, float]:
    """Return the energy in eV of an atom of each element, by atomic number; empty without labels.

    They are least squares with bounded influence (Huber, Ann. Math. Stat. 35, 73 (1964)).
    """
    known = np.flatnonzero(np.isfinite(stats.energy_per_atom))
    if not len(known):
        return {}
    present = np.flatnonzero(stats.composition[known].any(axis=0))
    share = stats.composition[known][:, present] / stats.atoms[known, None]
    energy = stats.energy_per_atom[known]
    weight = np.ones(len(known))
    reference = np.zeros(len(present))
    for _ in range(ROUNDS):
        rows = np.sqrt(weight)[:, None]
        reference, *_ = np.linalg.lstsq(rows * share, rows[:, 0] * energy, rcond=1e-8)
        left = energy - share @ reference
        scale = max(GAUSS * float(np.median(np.abs(left))), 1e-9)
        weight = 1.0 / np.maximum(1.0, np.abs(left) / (1.5 * scale))
    return {int(z): float(e) for z, e in zip(present, reference, strict=True)}


def robust_scores(stats: Statistics, values: Array, *, floor: float, fewest: int) -> Array:
    """Return (S,) distances from the median of the source over its spread, or of all structures where it has too few."""
    scores = np.full(len(values), np.nan)
    known = ~np.isnan(values)
    for name in stats.elements:
        rows = stats.of_source(name)
        rows = rows[known[rows]]
        if len(rows):
            kind = values[rows] if len(rows) >= fewest else values[known]
            middle = np.median(kind)
            spread = max(GAUSS * float(np.median(np.abs(kind - middle))), floor)
            scores[rows] = (values[rows] - middle) / spread
    return scores
