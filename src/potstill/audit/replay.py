"""Labels against the recorded teacher: repeated labels, and forces as the negative gradient of its energy.

Half of the repeated structures are drawn at random, so that the share of wrong labels is bounded. The others are those with
the most suspicious labels, so that a few wrong ones in a large dataset are found.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np

from potstill.audit.energy_work import work_scores
from potstill.audit.evidence import Evidence
from potstill.audit.labels import FEWEST_FOR_SCORES
from potstill.audit.needs import LABELS, TEACHER
from potstill.audit.outliers import energy_residuals, robust_scores
from potstill.audit.registry import check
from potstill.audit.repeated import label_gap
from potstill.core.types import Array, Labels, Structure, Teacher
from potstill.core.verdict import Finding, at_most, does_not_apply, not_run, warned
from potstill.teacher.fingerprints import is_other
from potstill.teacher.floor import force_floor

MIN_REPLAYED = 8
MAX_DIFFERENTIATED = 6  # of the structures with the largest forces, and with the largest stress
MAX_FLOOR_STRUCTURES, FLOOR_DIRECTIONS = 6, 4  # nine calls of the teacher for each
LEAST_FORCES = 1e-4  # eV/Å, root mean square: smaller ones are rounding
STEPS_OF_A_STRUCTURE = 3  # forces, stress and shape; each asks about two structures
MAX_COPIED, COPIES = 3, 7  # structures of a kind; labels of each and of its copies in three checks
STRUCTURES_PER_SAMPLE = 40  # labelled structures for each of these, so that few labels are not audited with more calls
STEP_ANGSTROM = 0.005
STEP_STRAIN = 1e-3
SHORTER = 0.2  # length of the step along a steep direction over that of others
SLOPE_FLOOR = 1.0  # eV/Å or eV: smaller slopes cannot be distinguished from rounding in float32
LEAST_DIFFERENCE = 2 * STEP_ANGSTROM * SLOPE_FLOOR  # eV

Step = tuple[str, float, tuple[Structure, Structure]]  # id, expected energy difference in eV, and the two structures


@check(
    "labels",
    unit="eV/Å",
    needs=(
        LABELS,
        TEACHER,
    ),
    gates=(
        "replay_fraction",
        "max_replay_force_ev_per_angstrom",
    ),
    mend="labels were not made by this teacher as it is now: label again, or name the teacher that made them",
)
def label_replay(evidence: Evidence) -> Finding:
    """Label a random share of the structures and the most suspicious ones again, and compare."""
    drawn, suspects = chosen_at_random(evidence), suspicious(evidence)
    structures = [evidence.dataset[int(k)] for k in np.unique(np.concatenate([drawn, suspects]))]
    answers = teacher_of(evidence).label(structures)
    gaps = [label_gap(s, a if isinstance(a, Labels) else None) for s, a in zip(structures, answers, strict=True)]
    order = np.argsort(gaps)[::-1]
    why = (
        f"{len(drawn)} structures at random and {len(structures) - len(drawn)} with unlikely labels, labelled again: "
        f"largest difference of energy per atom, force or stress; a fault in {_seldom(len(drawn)):.1%} of the labels "
        "would have been found with a probability of 95 %"
    )
    limit = evidence.gates.max_replay_force_ev_per_angstrom
    return at_most("label_replay", np.max(gaps), limit, "eV/Å", why, [structures[k].id for k in order])


@check(
    "labels",
    unit="of the slope",
    needs=(
        LABELS,
        TEACHER,
    ),
    gates=("max_gradient_error",),
    mend="forces or stresses are no gradient of the energy: check signs, units and float32 in the teacher's adapter",
)
def gradients(evidence: Evidence) -> Finding:
    """Compare finite differences of the teacher's energy with the stored forces and stress.

    A difference over a step is no slope where the energy bends within it, as between two atoms that nearly touch. Steps
    along steep directions are therefore shorter, as far as rounding allows.
    """
    chosen = _with_largest_forces(evidence, chosen_at_random(evidence))
    structures = [evidence.dataset[int(k)] for k in chosen]
    steps = [step for s in structures for step in _steps(s)]
    errors = _gradient_errors(teacher_of(evidence), steps)
    ranked = sorted(zip(errors, (name for name, _, _ in steps), strict=True), key=lambda pair: -pair[0])
    why = (
        "energy differences along forces and stresses, also along those that are exactly zero, of "
        f"{len(structures)} structures, {len(steps)} directions"
    )
    measured = ranked[0][0] if ranked else math.nan
    limit = evidence.gates.max_gradient_error
    return at_most("gradients", measured, limit, "of the slope", why, list(dict.fromkeys(name for _, name in ranked)))


@check(
    "labels",
    unit="of the forces",
    needs=(
        LABELS,
        TEACHER,
    ),
    gates=("max_force_floor_ratio",),
    mend="no conservative student can reproduce that part: use a conservative teacher if it is too large",
)
def conservative_forces(evidence: Evidence) -> Finding:
    """Measure the part of the teacher's forces that no potential can reproduce. The check only warns: the user decides."""
    unit = "of the forces"
    drawn = chosen_at_random(evidence)
    few = at_most_for(len(evidence.dataset), MAX_FLOOR_STRUCTURES)
    structures = [evidence.dataset[int(k)].with_(labels=None) for k in drawn[:: max(1, len(drawn) // few)][:few]]
    floor = force_floor(teacher_of(evidence), structures, directions=FLOOR_DIRECTIONS, seed=evidence.seed)
    if floor.forces < LEAST_FORCES:
        why = f"forces of {floor.structures} structures are {floor.forces:.2g} eV/Å, no more than rounding"
        return does_not_apply("conservative_forces", unit, why)
    ratio = floor.total / floor.forces
    why = f"{floor.total:.2g} eV/Å of the teacher's forces are the gradient of no energy, a student's error floor: {floor}"
    return warned(at_most("conservative_forces", ratio, evidence.gates.max_force_floor_ratio, unit, why))


@check("labels", unit="other teachers", mend="label everything with one teacher")
def teacher_fingerprint(evidence: Evidence) -> Finding:
    """Check that one teacher with known weights made all labels, and that it is the named one."""
    recorded = json.loads(evidence.dataset.attributes.get("teacher", "{}"))
    if evidence.labels_given:
        method = recorded.get("weights") or "not stated; state it as label.teacher.method"
        return does_not_apply("teacher_fingerprint", "other teachers", f"labels of the user's files, method: {method}")
    complete = all(recorded.get(key) for key in ("name", "version", "weights", "dtype"))
    if not complete:
        why = "the file does not state the teacher of its labels"
        return (not_run if evidence.of_run or recorded else does_not_apply)("teacher_fingerprint", "other teachers", why)
    others = 0
    if evidence.teacher is not None and is_other(evidence.teacher().fingerprint, recorded):
        others = 1
    why = f"{recorded['name']}, {recorded['version']}, weights {recorded['weights'][:23]}…, {recorded['dtype']}"
    if others:
        why = f"labels were made by a teacher other than the named one: {why}"
    return at_most("teacher_fingerprint", others, 0, "other teachers", why)


def teacher_of(evidence: Evidence) -> Teacher:
    """Return the teacher of the evidence; the check's needs guarantee it."""
    if evidence.teacher is None:
        raise LookupError("no teacher was named")
    return evidence.teacher()


def chosen_at_random(evidence: Evidence) -> Array:
    """Return sorted indices of the share of the structures that the gates set, eight at least."""
    count = len(evidence.dataset)
    wanted = max(MIN_REPLAYED, math.ceil(evidence.gates.replay_fraction * count))
    return np.sort(np.random.default_rng(evidence.seed).choice(count, min(wanted, count), replace=False))


def suspicious(evidence: Evidence) -> Array:
    """Return the indices of the structures with the most suspicious labels, half as many as are drawn at random.

    The ranking alternates between three scores: gap between energy and work, distance from the reference energies, and
    distance of the logarithm of the mean force.
    """
    stats = evidence.stats
    if not stats.labelled:
        return np.zeros(0, np.int64)
    with np.errstate(divide="ignore", invalid="ignore"):
        force = np.log10(np.maximum(stats.mean_force, 1e-2))
    scores = (
        work_scores(evidence),
        np.abs(robust_scores(stats, energy_residuals(stats), floor=0.05, fewest=FEWEST_FOR_SCORES)),
        np.abs(robust_scores(stats, force, floor=0.1, fewest=FEWEST_FOR_SCORES)),
    )
    wanted = max(MIN_REPLAYED, math.ceil(evidence.gates.replay_fraction * len(stats))) // 2
    ranked = [np.argsort(-np.nan_to_num(score, nan=-1.0), kind="stable")[:wanted] for score in scores]
    in_turn = dict.fromkeys(int(k) for turn in zip(*ranked, strict=True) for k in turn)
    return np.array(list(in_turn)[:wanted], np.int64)


def _with_largest_forces(evidence: Evidence, drawn: Array) -> Array:
    """Return some of the drawn molecules and crystals: those with the largest forces, and with the largest stress."""
    stats = evidence.stats
    few = at_most_for(len(evidence.dataset), MAX_DIFFERENTIATED, least=1)
    order = [np.nan_to_num(-values[drawn], nan=np.inf) for values in (stats.mean_force, stats.largest_stress)]
    ranked = [drawn[np.argsort(values, kind="stable")] for values in order]
    return np.array(list(dict.fromkeys([k for x in ranked for k in x[:few].tolist()])), np.int64)


def at_most_for(labelled: int, most: int, *, least: int = 2) -> int:
    """Return the size of a sample that costs several calls of the teacher per structure."""
    return max(least, min(most, labelled // STRUCTURES_PER_SAMPLE))


def calls_of_teacher(labelled: int, replay_fraction: float) -> int:
    """Return about how many labels an audit asks for: repeated ones, steps along forces and stresses, the floor, copies."""
    again = min(labelled, max(MIN_REPLAYED, math.ceil(replay_fraction * labelled)))
    steps = 2 * at_most_for(labelled, MAX_DIFFERENTIATED, least=1) * STEPS_OF_A_STRUCTURE
    floor = at_most_for(labelled, MAX_FLOOR_STRUCTURES) * (1 + 2 * FLOOR_DIRECTIONS)
    return again + again // 2 + 2 * steps + floor + COPIES * at_most_for(labelled, MAX_COPIED)


def _steps(structure: Structure) -> list[Step]:
    """Return id, expected energy difference and two structures per step.

    The steps go along the forces, along the stress if any and along a random change of shape. Others go along components of
    both that are exactly zero: zeros by symmetry leave the energy as it is, zeros that stand for missing figures do not.
    """
    labels = structure.labels
    found: list[Step] = []
    if labels is None:
        return found
    bare = structure.with_(labels=None)

    def along(way: Array, work: float) -> None:
        share = _share_of_step(2 * work)
        low, high = structure.positions - share * way, structure.positions + share * way
        found.append((structure.id, -2 * share * work, (bare.with_(positions=low), bare.with_(positions=high))))

    def under(stress: Array, strain: Array) -> None:
        expected = 2 * structure.volume * float((stress * strain).sum())
        share = _share_of_step(expected)
        pair = (_strained(bare, -share * strain), _strained(bare, share * strain))
        found.append((structure.id, share * expected, pair))

    rng, zero = np.random.default_rng(len(structure)), labels.forces == 0
    largest = float(np.abs(labels.forces).max())
    if largest > 0 and np.isfinite(labels.forces).all():
        way = STEP_ANGSTROM * labels.forces / largest
        along(way, float((labels.forces * way).sum()))
    if zero.any():
        along(np.where(zero, rng.uniform(-STEP_ANGSTROM, STEP_ANGSTROM, zero.shape), 0.0), 0.0)
    if labels.stress is None:
        return found
    strongest = float(np.abs(labels.stress).max())
    if strongest > 0 and np.isfinite(labels.stress).all():
        under(labels.stress, STEP_STRAIN * (labels.stress + labels.stress.T) / 2 / strongest)
    if np.isfinite(labels.stress).all():  # components in another order are hardly seen along the stress
        shape = rng.uniform(-STEP_STRAIN, STEP_STRAIN, (3, 3))
        under(labels.stress, (shape + shape.T) / 2 - np.eye(3) * np.trace(shape) / 3)
    if (labels.stress == 0).any():
        strain = np.where(labels.stress == 0, rng.uniform(-STEP_STRAIN, STEP_STRAIN, (3, 3)), 0.0)
        under(labels.stress, (strain + strain.T) / 2)
    return found


def _gradient_errors(teacher: Teacher, steps: Sequence[Step]) -> list[float]:
    """Return the error of the energy difference of each step, over the expected one; infinite where it is no number."""
    energies = _energies(teacher, [moved for _, _, pair in steps for moved in pair])
    differences = np.array(energies[1::2]) - np.array(energies[::2])
    errors = [
        abs(found - expected) / max(abs(expected), LEAST_DIFFERENCE)
        for found, (_, expected, _) in zip(differences, steps, strict=True)
    ]
    return [float(error) if math.isfinite(error) else math.inf for error in errors]


def _share_of_step(expected: float) -> float:
    """Return the share of a whole step to take: less along a steep direction, where that still exceeds rounding."""
    return SHORTER if SHORTER * abs(expected) >= LEAST_DIFFERENCE else 1.0


def _strained(structure: Structure, strain: Array) -> Structure:
    deform = np.eye(3) + strain
    return structure.with_(positions=structure.positions @ deform, cell=structure.cell @ deform)


def _energies(teacher: Teacher, structures: Sequence[Structure]) -> list[float]:
    answers = teacher.label(structures) if structures else []
    return [a.energy if isinstance(a, Labels) else math.nan for a in answers]


def _seldom(drawn: int) -> float:
    """Return the share of wrong labels that a random draw of this size finds with 95 % probability."""
    return 1.0 - 0.05 ** (1.0 / max(1, drawn))
