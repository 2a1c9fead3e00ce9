"""Robust distances of labels from the median of their kind, which a few wrong values do not move."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from potstill.core.types import Array
from potstill.stats import Statistics

GAUSS = 1.4826  # median absolute deviation of a normal distribution, in standard deviations
ROUNDS = 5
FEWEST_OF_A_LEVEL = 5  # structures
LIKE_SPREAD = 0.05  # eV/atom, least spread of a level among structures that are alike
UNLIKE_SPREAD = 0.5  # eV/atom, among any structures: bonds alone differ by up to 9 eV/atom, of tungsten


@dataclass(frozen=True, slots=True)
class Levels:
    """Two levels of energies with nothing between them.

    Parameters
    ----------
    score
        Gap between them over the larger robust standard deviation of the two.
    gap
        Distance of their nearest energies in eV/atom.
    below, above
        Indices of the structures of each.
    of
        Formula of structures that are alike; empty where the levels divide all structures.
    """

    score: float
    gap: float
    below: Array
    above: Array
    of: str = ""

    @property
    def fewer(self) -> Array:
        """Return the indices of the level with fewer structures."""
        return min(self.below, self.above, key=len)


def energy_residuals(stats: Statistics) -> Array:
    """Return (S,) energies per atom less the share of each element times its reference energy, in eV/atom.

    Lone atoms have no bonds to compare: theirs is NaN where there are other structures.
    """
    reference = reference_energies(stats)
    residual = np.full(len(stats), np.nan)
    if reference:
        elements = list(reference)
        share = stats.composition[:, elements] / stats.atoms[:, None]
        known = _bonded(stats)
        residual[known] = stats.energy_per_atom[known] - share[known] @ np.array(list(reference.values()))
    return residual


def reference_energies(stats: Statistics) -> dict[int, float]:
    """Return the energy in eV of an atom of each element, by atomic number; empty without labels.

    They are least squares with bounded influence (Huber, Ann. Math. Stat. 35, 73 (1964)).
    """
    known = np.flatnonzero(_bonded(stats))
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


def _bonded(stats: Statistics) -> Array:
    """Return (S,) whether the energy of each structure is known and not that of a lone atom, where there are others."""
    known = np.isfinite(stats.energy_per_atom)
    others = known & ~(stats.molecule & (stats.atoms == 1))
    return others if others.any() else known


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


def two_levels(stats: Statistics, residual: Array) -> Levels | None:
    """Return the two levels of energies that are farthest apart in their spread; None where there are none.

    They are looked for among all structures, and among those of one composition. The latter must be alike in their shortest
    distances and in the number of their neighbors, as two phases are not.

    Parameters
    ----------
    stats
        The measured values.
    residual
        (S,) energies per atom less the share of each element times its reference energy, in eV/atom.
    """
    found = [divided(residual, np.flatnonzero(np.isfinite(residual)), UNLIKE_SPREAD)]
    counts = stats.composition.astype(np.int64)
    reduced = counts // np.maximum(np.gcd.reduce(counts, axis=1), 1)[:, None]
    kind = np.unique(np.column_stack([reduced, stats.molecule]), axis=0, return_inverse=True)[1].ravel()
    order = np.argsort(kind, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(kind[order])) + 1):
        levels = divided(residual, rows[np.isfinite(residual[rows])], LIKE_SPREAD, stats.formulas[rows[0]])
        if levels and all(_overlap(x[levels.below], x[levels.above]) for x in (stats.neighbors, stats.scaled_distance)):
            found.append(levels)
    return max(filter(None, found), key=lambda levels: levels.score, default=None)


def divided(values: Array, rows: Array, floor: float, of: str = "") -> Levels | None:
    """Return rows divided at the widest gap between their values; None where they are too few for two levels."""
    if len(rows) < 2 * FEWEST_OF_A_LEVEL:
        return None
    rows = rows[np.argsort(values[rows], kind="stable")]
    gaps = np.diff(values[rows])[FEWEST_OF_A_LEVEL - 1 : len(rows) - FEWEST_OF_A_LEVEL]
    at = int(np.argmax(gaps)) + FEWEST_OF_A_LEVEL
    sides = rows[:at], rows[at:]
    spread = max(GAUSS * float(np.median(np.abs(values[side] - np.median(values[side])))) for side in sides)
    gap = float(values[rows[at]] - values[rows[at - 1]])
    return Levels(gap / max(spread, floor), gap, *sides, of)


def _overlap(one: Array, other: Array) -> bool:
    """Return whether the ranges of two sets of values overlap; False where a value is not known."""
    return bool(one.min() <= other.max() and other.min() <= one.max())
