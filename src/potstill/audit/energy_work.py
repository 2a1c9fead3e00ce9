"""Labels beside labels: the energies of near siblings differ by the work of forces and stresses between them.

A force is the negative gradient of an energy. The teacher is asked only where few energies do not fit that work.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from potstill.audit.evidence import Evidence, largest, largest_first
from potstill.audit.finer_steps import bends
from potstill.audit.needs import CRYSTALS, LABELS, STRESS
from potstill.audit.outliers import GAUSS
from potstill.audit.registry import check
from potstill.core.types import Array
from potstill.core.verdict import Finding, Verdict, at_most, does_not_apply
from potstill.stats.siblings import WORK_NOISE_EV_PER_ATOM

FEWEST_FOR_SLOPE = 20  # number of pairs of siblings
WIDE = 2.5  # of the limit: the trapezoidal rule alone is off by more than the limit between strained cells
SAME_CELL_ANGSTROM = 1e-3
ROUNDING_EV_PER_ATOM = 2e-5  # of energies in float32, and of text files


@check(
    "labels",
    unit="of the bound",
    needs=(LABELS,),
    gates=("max_energy_work_ratio",),
    mend="energies{of} differ from the work of forces and stresses to a near sibling: label them again",
)
def energy_work(evidence: Evidence) -> Finding:
    """Compare energy differences between near siblings with the work between them, in units of the second-order bound.

    Few pairs beyond it are no fault if the teacher says that its energy bends between them.
    """
    scores = work_scores(evidence)
    near = int((~np.isnan(scores)).sum())
    why = f"{near} of {len(scores)} structures have a sibling near enough to compare energies with forces"
    if not near:
        return does_not_apply("energy_work", "of the bound", why)
    limit = evidence.gates.max_energy_work_ratio
    finding = at_most("energy_work", largest(scores), limit, "of the bound", why, largest_first(evidence.stats, scores))
    beyond = np.flatnonzero(scores > limit)
    if finding.verdict == Verdict.NO_GO and bends(evidence, beyond.tolist()):
        fit = f"beyond the limit are {len(beyond)}, where the teacher's energy bends: it fits the work in smaller steps"
        finding = replace(finding, verdict=Verdict.WARN, why=f"{why}; {fit}")
    return replace(finding, covered=near)


@check(
    "labels",
    unit="away from 1",
    needs=(LABELS,),
    gates=("max_energy_work_slope",),
    mend="energies, forces or, between cells, stresses have a wrong unit or sign, or are of other frames: compare them",
)
def energy_work_slope(evidence: Evidence) -> Finding:
    """Fit the slope of energy differences between siblings on that work: 1 where units and signs agree."""
    work, change = evidence.stats.work, evidence.stats.energy_change
    limit = evidence.gates.max_energy_work_slope
    known = np.flatnonzero(np.isfinite(work) & np.isfinite(change) & _beyond_rounding(evidence))
    found = np.array([_slope(work[k], change[k]) for k in _kinds(evidence, known)])
    if not len(found):
        why = f"{len(known)} pairs of near siblings: neither molecules nor crystals have the {FEWEST_FOR_SLOPE} of a slope"
        return does_not_apply("energy_work_slope", "away from 1", why)
    slopes = ", ".join(f"{slope:.3f} ± {error:.3f}" for slope, error in found)
    why = f"slopes of energy on work over {len(known)} pairs of siblings: {slopes}; counted beyond three errors"
    apart = np.abs(found[:, 0] - 1)
    beyond = np.maximum(apart - 3 * found[:, 1], 0.0)
    finding = at_most("energy_work_slope", float(beyond.max()), limit, "away from 1", why)
    if finding.verdict == Verdict.GO and (apart > WIDE * limit).any():
        return replace(finding, verdict=Verdict.WARN, why=f"{why}, and one is far off: look at the labels")
    return _near(finding, float(apart.max()), limit)


def _near(finding: Finding, apart: float, limit: float) -> Finding:
    """Return WARN in place of NO_GO where the trapezoidal rule may be off by as much: no unit or sign is so near to 1."""
    if finding.verdict != Verdict.NO_GO or apart > WIDE * limit:
        return finding
    why = f"{finding.why}; frames of hot crystals in other cells give as much with right labels, wrong units give more"
    return replace(finding, verdict=Verdict.WARN, why=why)


@check(
    "labels",
    unit="away from 1",
    needs=(
        LABELS,
        CRYSTALS,
        STRESS,
    ),
    gates=("max_energy_work_slope",),
    mend="stresses (or energies) have a wrong unit, sign or order, or a kinetic part: give them in eV/Å^3, + is tension",
)
def stress_work_slope(evidence: Evidence) -> Finding:
    """Fit the same slope over siblings in other cells alone, where the stresses do most of the work."""
    rows = np.flatnonzero(_strained(evidence) & np.isfinite(evidence.stats.energy_change) & _beyond_rounding(evidence))
    why = f"{len(rows)} structures have a near sibling in another cell, to compare stresses with energies"
    if len(rows) < FEWEST_FOR_SLOPE:
        return does_not_apply("stress_work_slope", "away from 1", f"{why}; {FEWEST_FOR_SLOPE} give a slope")
    slope, error = _slope(evidence.stats.work[rows], evidence.stats.energy_change[rows])
    apart, limit = abs(slope - 1), evidence.gates.max_energy_work_slope
    beyond = max(apart - 3 * error, 0.0)
    why += f": slope {slope:.3f} ± {error:.3f}, counted beyond three errors"
    finding = at_most("stress_work_slope", beyond, limit, "away from 1", why)
    return replace(_near(finding, apart, limit), covered=len(rows))


def _beyond_rounding(evidence: Evidence) -> Array:
    """Return whether work or change of the energy are more than rounding, (S,) bool; between equivalent atoms both are 0."""
    stats = evidence.stats
    larger = np.maximum(np.abs(stats.work), np.abs(stats.energy_change))
    return np.asarray(larger > ROUNDING_EV_PER_ATOM * stats.atoms)


def _strained(evidence: Evidence) -> Array:
    """Return whether each structure's nearest sibling has another cell, so that stresses do work, (S,) bool."""
    cell, sibling = evidence.dataset.column("structures/cell")[:], evidence.stats.sibling
    known = (sibling >= 0) & np.isfinite(evidence.stats.work)
    apart = np.abs(cell - cell[np.where(known, sibling, 0)]).max(axis=(1, 2), initial=0.0)
    return np.asarray(known & (apart > SAME_CELL_ANGSTROM))


def work_scores(evidence: Evidence) -> Array:
    """Return (S,) gaps of energy and work over their bound; NaN without a sibling."""
    return np.asarray(evidence.stats.work_gap / (evidence.stats.work_bound + WORK_NOISE_EV_PER_ATOM))


def _kinds(evidence: Evidence, known: Array) -> list[Array]:
    molecule = evidence.stats.molecule[known]
    return [rows for rows in (known[molecule], known[~molecule]) if len(rows) >= FEWEST_FOR_SLOPE]


def _slope(work: Array, change: Array) -> tuple[float, float]:
    """Fit a line through zero to pairs of similar weight, without outliers; return slope and standard error."""
    weight = 1.0 / np.maximum(np.abs(work), np.median(np.abs(work)) + 1e-12)
    x, y = weight * work, weight * change
    keep = np.abs(y - x) <= 10 * GAUSS * np.median(np.abs(y - x)) + 1e-9
    x, y = x[keep], y[keep]
    norm = max(float((x**2).sum()), 1e-300)
    slope = float((x * y).sum()) / norm
    return slope, float(np.sqrt(((x * (y - slope * x)) ** 2).sum())) / norm
