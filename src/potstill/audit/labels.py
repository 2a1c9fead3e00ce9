"""Labels by themselves: finite, within limits, without outliers, with forces that sum to zero and turn no molecule.

No check here needs the teacher; those in :mod:`potstill.audit.replay` do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from potstill.audit import mend
from potstill.audit.evidence import Evidence, largest, largest_first
from potstill.audit.fit_levels import levels_beside_fit
from potstill.audit.needs import CRYSTALS, LABELS, MOLECULES, STRESS
from potstill.audit.outliers import energy_residuals, robust_scores, two_levels
from potstill.audit.registry import check
from potstill.core.types import Array
from potstill.core.verdict import Finding, at_most, does_not_apply
from potstill.generate.filter import NEAR_DUPLICATE_ANGSTROM

FEWEST_FOR_SCORES = 40  # structures of a source; with fewer, the spread of all structures is used


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


def _gives_stress(evidence: Evidence) -> bool:
    """Return whether the named teacher predicts stress; False where none is named."""
    return evidence.teacher is not None and "stress" in evidence.teacher().properties


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
