"""A map of structures by two principal components of invariants: similar structures lie near each other.

The input is :class:`~potstill.stats.Statistics`, the output a point in the plane for each structure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from potstill.core.elements import covalent_radii
from potstill.core.geometry import FINGERPRINT_NEIGHBORS, FINGERPRINT_ROW
from potstill.core.types import Array
from potstill.stats import Statistics

OUTERMOST = 0.002  # share of the structures on either side that is drawn at the edge of the map


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Points of the structures on the map.

    Parameters
    ----------
    points
        (S, 2) from -1 to 1.
    explained
        Share of the variance of the invariants that each of the two axes holds.
    """

    points: Array
    explained: tuple[float, float]


def similarity(stats: Statistics) -> Places:
    """Return two principal components of composition and atomic environments.

    The invariants are the share of each element, and the mean inverse distances, in units of the covalent radii, of an atom
    to its nearest ones, nearest first. Either kind has half of the variance. What is not finite lies in the middle.
    """
    count = len(stats)
    if count < 2:
        return Places(np.zeros((count, 2)), (0.0, 0.0))
    columns = np.concatenate([_of_unit_variance(_shares(stats)), _of_unit_variance(_inverse_distances(stats))], axis=1)
    values, vectors = np.linalg.eigh(columns.T @ columns / count)
    axes = vectors[:, [-1, -2]]
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), [0, 1]] < 0, -1.0, 1.0)  # a sign that rounding does not turn
    points = columns @ axes
    low, high = np.quantile(points, [OUTERMOST, 1 - OUTERMOST], axis=0)
    spread = np.maximum(high - low, 1e-9)
    total = max(float(values.sum()), 1e-12)
    explained = (float(values[-1]) / total, max(0.0, float(values[-2])) / total)
    return Places(np.clip(2 * (points - low) / spread - 1, -1.0, 1.0), explained)


def _shares(stats: Statistics) -> Array:
    present = stats.composition.any(axis=0)
    return np.asarray(np.sqrt(stats.composition[:, present] / stats.atoms[:, None]))


def _inverse_distances(stats: Statistics) -> Array:
    """Return (S, 24) mean over the atoms of radius over distance; zero where a molecule has fewer neighbors."""
    rows = stats.fingerprints.reshape(-1, FINGERPRINT_ROW)[:, :FINGERPRINT_NEIGHBORS].astype(np.float64)
    owner = np.repeat(np.arange(len(stats)), np.diff(stats.fingerprint_ptr) // FINGERPRINT_ROW)
    structure, element = np.nonzero(stats.composition)  # a fingerprint has a row for each element, the lightest first
    if len(structure) != len(owner) or (structure != owner).any():
        return np.zeros((len(stats), FINGERPRINT_NEIGHBORS))
    weight = stats.composition[structure, element] / stats.atoms[structure] * covalent_radii()[element]
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.where(rows > 0, 1.0 / rows, 0.0)
    made = np.zeros((len(stats), FINGERPRINT_NEIGHBORS))
    np.add.at(made, owner, weight[:, None] * inverse)
    return made


def _of_unit_variance(columns: Array) -> Array:
    """Return the centered columns, scaled so that their variances add up to 1."""
    centred = columns - columns.mean(axis=0)
    centred[~np.isfinite(centred).all(axis=1)] = 0.0
    return np.asarray(centred / max(float(np.sqrt((centred**2).sum() / len(centred))), 1e-12))
