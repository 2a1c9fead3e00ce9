"""Labels by themselves: finite, within limits, without outliers, and consistent energies, forces and stresses.

A force is the negative gradient of an energy. Forces therefore sum to zero, turn no molecule, and do the work that separates
the energies of near siblings. No check here needs the teacher; those in :mod:`potstill.audit.replay` do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from potstill.audit import mend
from potstill.audit.evidence import Evidence, largest, largest_first
from potstill.audit.finer_steps import bends
from potstill.audit.fit_levels import levels_beside_fit
from potstill.audit.needs import CRYSTALS, LABELS, MOLECULES, STRESS
from potstill.audit.outliers import GAUSS, energy_residuals, robust_scores, two_levels
from potstill.audit.registry import check
from potstill.core.types import Array
from potstill.core.verdict import Finding, Verdict, at_most, does_not_apply
from potstill.generate.filter import NEAR_DUPLICATE_ANGSTROM
from potstill.stats.siblings import WORK_NOISE_EV_PER_ATOM

FEWEST_FOR_SCORES = 40  # structures of a source; with fewer, the spread of all structures is used
FEWEST_FOR_SLOPE = 20  # number of pairs of siblings
WIDE = 2.5  # of the limit: the trapezoidal rule alone is off by more than the limit between strained cells
SAME_CELL_ANGSTROM = 1e-3
ROUNDING_EV_PER_ATOM = 2e-5  # of energies in float32, and of text files


@check(
    "labels",
    unit="structures",
    needs=(LABELS,),
    mend="leave out the structures{of} with NaN or infinity, and check the teacher",
)
def finite(evidence: Evidence) -> Finding:
    """Count structures with a number that is not finite."""
    bad = np.zeros(len(evidence.dataset), bool)
    ptr = evidence.dataset.ptr
    for path in ("atoms/positions", "atoms/forces"):
        rows = ~np.isfinite(evidence.dataset.column(path)).all(axis=1)
        bad |= np.logical_or.reduceat(rows, ptr[:-1])
    for path in ("structures/cell", "structures/energy", "structures/stress"):
        bad |= ~np.isfinite(evidence.dataset.column(path)).reshape(len(bad), -1).all(axis=1)
    worst = [evidence.stats.ids[k] for k in np.flatnonzero(bad)]
    why = "energies, forces, stresses, positions and cells" + (" hold NaN or infinity" if bad.any() else " are finite")
    return at_most("finite", int(bad.sum()), 0, "structures", why, worst)


@check(
    "labels",
    unit="eV/Å",
    needs=(LABELS,),
    gates=(
        "max_force_ev_per_angstrom",
        "max_force_per_source",
    ),
    mend=mend.refuse_forces,
)
def force_limits(evidence: Evidence) -> Finding:
    """Find the largest force on any atom, as a share of the source's own limit where it has one."""
    values, gates = evidence.stats.largest_force, evidence.gates
    limit, own = gates.max_force_ev_per_angstrom, gates.max_force_per_source
    scaled = _scaled_by_source(evidence, values, limit, own)
    why = f"largest by source: {_largest_by_source(evidence, values, '.1f')}"
    if own:
        why += "; forces of sources with a limit of their own are scaled by it"
    ranked = np.where(np.isfinite(scaled), scaled, np.inf)
    above = limit if (ranked > limit).any() else -np.inf
    worst = largest_first(evidence.stats, ranked, above=above)
    return at_most("force_limits", float(scaled.max()), limit, "eV/Å", why, worst)


@check(
    "labels",
    unit="eV/Å^3",
    needs=(
        LABELS,
        CRYSTALS,
        STRESS,
    ),
    gates=(
        "max_stress_ev_per_cubic_angstrom",
        "max_stress_per_source",
    ),
    mend=mend.refuse_stresses,
)
def stress_limits(evidence: Evidence) -> Finding:
    """Find the largest component of any stress, as a share of the source's own limit where it has one.

    The default, 3 eV/Å^3 or 481 GPa, is above the bulk modulus of diamond (443 GPa) and the pressure in the middle of the
    Earth (364 GPa). No solid is near equilibrium there.
    """
    values, gates = evidence.stats.largest_stress, evidence.gates
    limit, own = gates.max_stress_ev_per_cubic_angstrom, gates.max_stress_per_source
    scaled = _scaled_by_source(evidence, values, limit, own)
    known = int((~np.isnan(values)).sum())
    beyond = int((scaled > limit).sum())
    why = f"largest component; {beyond} of {known} structures with stress are beyond, and 1 eV/Å^3 is 160 GPa"
    named = _largest_by_source(evidence, values, ".2f")
    why += f"; largest by source: {named}" if named else ""
    if own:
        why += "; stresses of sources with a limit of their own are scaled by it"
    measured = _of_labels(evidence, scaled)
    worst = largest_first(evidence.stats, scaled, above=limit if beyond else -np.inf)
    return at_most("stress_limits", measured, limit, "eV/Å^3", why, worst)


@check(
    "labels",
    unit="eV/Å^3",
    needs=(
        LABELS,
        CRYSTALS,
        STRESS,
    ),
    gates=("max_stress_asymmetry_ev_per_cubic_angstrom",),
    mend="components of stresses{of} are in a wrong order: correct the reader, or label again",
)
def stress_symmetry(evidence: Evidence) -> Finding:
    """Find the largest difference between two components of stress across the diagonal."""
    values = evidence.stats.stress_asymmetry
    limit = evidence.gates.max_stress_asymmetry_ev_per_cubic_angstrom
    worst = largest_first(evidence.stats, values)
    measured = _of_labels(evidence, values)
    return at_most("stress_symmetry", measured, limit, "eV/Å^3", "stress of atoms without torque is symmetric", worst)


@check(
    "labels",
    unit="robust deviations",
    needs=(LABELS,),
    gates=("max_energy_score",),
    mend="label the named structures again, and compare",
)
def energy_outliers(evidence: Evidence) -> Finding:
    """Measure the energy per atom less the reference energies, in robust standard deviations of its source.

    Energies on two levels with a gap between them count too, in deviations of the level that spreads more, also less what a
    pair potential that is fitted to the forces makes of them.
    """
    limit = evidence.gates.max_energy_score
    residual = energy_residuals(evidence.stats)
    scores = np.abs(robust_scores(evidence.stats, residual, floor=0.05, fewest=FEWEST_FOR_SCORES))
    why = (
        f"against the spread of the source, or of all where it has fewer than {FEWEST_FOR_SCORES} structures; "
        f"median deviation {_middle(residual):.3f} eV/atom"
    )
    found = (two_levels(evidence.stats, residual), levels_beside_fit(evidence))
    levels = max(filter(None, found), key=lambda levels: levels.score, default=None)
    if levels is not None and levels.score > limit:
        why = (
            f"energies on two levels: {len(levels.below)} structures{f' of {levels.of}' if levels.of else ''} are at least "
            f"{levels.gap:.3g} eV/atom below {len(levels.above)} others, with none between, as of two codes or settings"
        )
        worst = [evidence.stats.ids[k] for k in levels.fewer]
        return at_most("energy_outliers", max(levels.score, largest(scores)), limit, "robust deviations", why, worst)
    return at_most(
        "energy_outliers", largest(scores), limit, "robust deviations", why, largest_first(evidence.stats, scores)
    )


@check(
    "labels",
    unit="eV/Å",
    needs=(LABELS,),
    gates=("max_net_force_ev_per_angstrom",),
    mend="forces{of} do not sum to zero: check for wrong rows, or for a teacher that predicts forces directly",
)
def net_force(evidence: Evidence) -> Finding:
    """Measure the sum of a structure's forces, per atom: zero if moving all atoms does not change the energy."""
    values, limit = evidence.stats.net_force, evidence.gates.max_net_force_ev_per_angstrom
    why = "the forces on a structure sum to zero, per atom"
    measured = _of_labels(evidence, values)
    return at_most("net_force", measured, limit, "eV/Å", why, largest_first(evidence.stats, values))


@check(
    "labels",
    unit="eV",
    needs=(
        LABELS,
        MOLECULES,
    ),
    gates=("max_net_torque_ev",),
    mend="forces{of} have a net torque: check for wrong rows, moved atoms, or a teacher that predicts forces directly",
)
def net_torque(evidence: Evidence) -> Finding:
    """Measure the length of the sum of a molecule's torques, per atom: zero if turning it does not change the energy."""
    values, limit = evidence.stats.net_torque, evidence.gates.max_net_torque_ev
    why = f"the forces turn none of {int(evidence.stats.molecule.sum())} structures that are not periodic, per atom"
    return at_most("net_torque", _of_labels(evidence, values), limit, "eV", why, largest_first(evidence.stats, values))


@check(
    "labels", unit="structures", needs=(LABELS,), mend="forces{of} were rounded to 16 bits: export or label them again in 32"
)
def precision(evidence: Evidence) -> Finding:
    """Count structures whose forces are all 16-bit numbers: they were rounded."""
    bad = np.flatnonzero(evidence.stats.coarse)
    why = "structures whose forces were rounded to 16 bits" if len(bad) else "forces have more digits than 16 bits can store"
    measured = float(len(bad)) if evidence.stats.labelled else np.nan
    return at_most("precision", measured, 0, "structures", why, [evidence.stats.ids[k] for k in bad])


@check("labels", unit="structures", needs=(LABELS,), mend="structures{of} share the labels of another: label them again")
def repeated_labels(evidence: Evidence) -> Finding:
    """Count structures with exactly the forces of another, although their atoms differ."""
    stats = evidence.stats
    owners: dict[bytes, list[int]] = defaultdict(list)
    for k, forces in enumerate(stats.force_hashes.tolist()):
        if forces:
            owners[forces].append(k)
    bad = [k for group in owners.values() for k in group[1:] if not _plausible(evidence, group[0], k)]
    why = "structures with exactly the forces of another, though their atoms differ"
    measured = float(len(bad)) if stats.labelled else np.nan
    return at_most("repeated_labels", measured, 0, "structures", why, [stats.ids[k] for k in bad])


@check(
    "labels",
    unit="structures",
    needs=(
        LABELS,
        CRYSTALS,
    ),
    mend="label the structures{of} without stress again",
)
def missing_stress(evidence: Evidence) -> Finding:
    """Count structures periodic in three directions without stress, where others or the teacher have it."""
    periodic = evidence.dataset.column("structures/pbc").all(axis=1)
    bare = periodic & ~evidence.dataset.column("structures/has_stress")
    why = f"of {int(periodic.sum())} structures periodic in three directions, {int(bare.sum())} have no stress"
    if bare.sum() == periodic.sum() and not _gives_stress(evidence):
        return does_not_apply("missing_stress", "structures", f"{why}: no student can be trained on one")
    worst = [evidence.stats.ids[k] for k in np.flatnonzero(bare)]
    return at_most("missing_stress", int(bare.sum()), 0, "structures", why, worst)


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
    measured = _of_labels(evidence, scores)
    finding = at_most("energy_work", measured, limit, "of the bound", why, largest_first(evidence.stats, scores))
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


def _gives_stress(evidence: Evidence) -> bool:
    """Return whether the named teacher predicts stress; False where none is named."""
    return evidence.teacher is not None and "stress" in evidence.teacher().properties


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


def _plausible(evidence: Evidence, a: int, b: int) -> bool:
    """Return whether equal forces are plausible: the distances are the same, or other atoms stand where no force acts."""
    one, other = evidence.stats.fingerprint(a), evidence.stats.fingerprint(b)
    if len(one) == len(other) and bool(np.abs(one - other).max() < NEAR_DUPLICATE_ANGSTROM):
        return True
    first, second = evidence.dataset[a], evidence.dataset[b]
    if first.labels is None or first.atomic_numbers.shape != second.atomic_numbers.shape:
        return False
    pushed = first.labels.forces.any(axis=1)  # the others are beyond the teacher's cutoff from all atoms
    return np.array_equal(first.atomic_numbers[pushed], second.atomic_numbers[pushed]) and all(
        np.allclose(mine, theirs, rtol=0.0, atol=NEAR_DUPLICATE_ANGSTROM)
        for mine, theirs in (
            (first.positions[pushed], second.positions[pushed]),
            (first.cell, second.cell),
        )
    )


def _scaled_by_source(evidence: Evidence, values: Array, limit: float, own: Mapping[str, float]) -> Array:
    """Return (S,) values times the general limit over that of their source, so that all compare with the general limit."""
    limits = np.full(len(values), limit)
    for name, stricter in own.items():
        limits[evidence.stats.of_source(name)] = stricter
    return np.asarray(values * (limit / limits))


def _largest_by_source(evidence: Evidence, values: Array, digits: str) -> str:
    rows = {name: values[evidence.stats.of_source(name)] for name in evidence.stats.elements}
    return ", ".join(f"{name} {np.nanmax(v):{digits}}" for name, v in rows.items() if not np.isnan(v).all())


def _of_labels(evidence: Evidence, values: Array) -> float:
    """Return the largest value; NaN, which never passes, where there are no labels."""
    return largest(values) if evidence.stats.labelled else float("nan")


def _middle(values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(np.abs(known))) if known.size else 0.0
