"""Energies on two levels beside a pair potential that was fitted to the forces, as of two codes or settings.

What the fit leaves of the energies is small and smooth, so an offset of a part of them stands out. Phases, isomers and
defects leave different energies too. There the structures on one level are like each other. An offset is between structures
that are alike.
"""

from __future__ import annotations

import numpy as np

from potstill.audit.evidence import Evidence
from potstill.audit.outliers import Levels, divided
from potstill.audit.pair_fit import FREE, Fit, fits_of
from potstill.core.types import Array

LEAST_SPREAD = 4e-4  # eV/atom, of what a fit leaves of the energies of one level
COUNTS = 3.0  # times: a fit leaves so little that a gap tells more than one of plain energies
ROUNDS = 4
MIXED = 0.1  # share of the level with fewer structures whose nearest structure is on the other


def levels_beside_fit(evidence: Evidence) -> Levels | None:
    """Return the two levels of energies that are farthest apart, among structures of one composition that are alike."""
    found = [levels for fit in fits_of(evidence) for levels in _of_fit(evidence, fit)]
    return max(found, key=lambda levels: levels.score, default=None)


def _of_fit(evidence: Evidence, fit: Fit) -> list[Levels]:
    found = []
    for levels in _levels(fit, evidence.stats.atoms[fit.rows]):
        if _mixed(fit.environments, levels) >= MIXED:
            below, above = fit.rows[levels.below], fit.rows[levels.above]
            found.append(Levels(COUNTS * levels.score, levels.gap, below, above, evidence.stats.formulas[below[0]]))
    return found


def _levels(fit: Fit, atoms: Array) -> list[Levels]:
    """Return the two levels of structures of each composition and number of (s,) atoms, by places in the fit.

    A cell with a vacancy is no other level of the perfect one. The terms that no force knows are fitted together with the
    distance of the levels, else they would follow an offset.
    """
    gap, terms = fit.energy - fit.fitted, fit.terms
    kind = np.unique(np.column_stack([fit.composition, atoms]), axis=0, return_inverse=True)[1].ravel()
    kinds = [np.flatnonzero(kind == k) for k in range(int(kind.max()) + 1)]
    above = np.zeros((len(gap), 0))
    levels: list[Levels] = []
    for _ in range(ROUNDS):
        solution = np.linalg.lstsq(np.column_stack([terms, above]), gap, rcond=1e-8)[0]
        left = gap - terms @ solution[: terms.shape[1]]
        levels = [found for places in kinds if (found := divided(left, places, LEAST_SPREAD)) is not None]
        if not levels or len(gap) - terms.shape[1] - len(levels) < FREE:
            return []
        above = np.stack([np.isin(np.arange(len(gap)), found.above) for found in levels], axis=1).astype(float)
    return levels


def _mixed(environments: Array, levels: Levels) -> float:
    """Return the share of the level with fewer structures whose nearest structure is on the other level."""
    places = np.concatenate([levels.below, levels.above])
    spread = environments[places].std(axis=0)
    scaled = environments[:, spread > 0] / spread[spread > 0]
    few = levels.fewer
    apart = np.linalg.norm(scaled[few][:, None] - scaled[places], axis=2)
    apart[few[:, None] == places] = np.inf
    nearest = places[apart.argmin(axis=1)]
    return float(np.mean(~np.isin(nearest, few)))
