"""The stage ``evaluate``: held-out families, physics and speed of a student against its teacher, ``evaluate.json`` out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from potstill.core.dynamics import repeat_crystal
from potstill.core.errors import InputError
from potstill.core.types import Array, Structure, Teacher
from potstill.dataset import Dataset
from potstill.deploy.student import DeployedStudent
from potstill.evaluate.contents import kinds_of
from potstill.evaluate.dynamics import Trajectory, run_nve
from potstill.evaluate.errors import Comparison, by_magnitude, per_element, summary
from potstill.evaluate.gates import changed_limits, judge
from potstill.evaluate.made_from import made_from
from potstill.evaluate.model import Model
from potstill.evaluate.physics import measure
from potstill.evaluate.remembered import Remembered
from potstill.evaluate.speed import compare_speed, speed_by_size
from potstill.evaluate.systems import pick
from potstill.evaluate.wide_cell import REACH, USUAL_ANGSTROM
from potstill.execute import available_cores
from potstill.execute.memory import keep_freed_memory
from potstill.stats.references import composition_matrix, compositions, fit_reference_energies
from potstill.student.uncertainty import judge as judge_uncertainty
from potstill.teacher.calculator import TeacherCalculator
from potstill.teacher.fingerprints import refuse_other_teacher
from potstill.teacher.floor import force_floor
from potstill.teacher.given import labels_given

if TYPE_CHECKING:
    from potstill.evaluate.options import EvaluateConfig

AT_ONCE = 32  # structures in one call of the student
LARGE_CRYSTAL = 200
SPEED_STRUCTURES = 16
SPEED_SIZES = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
FLOOR_STRUCTURES, FLOOR_DIRECTIONS = 8, 4  # nine calls of the teacher for each


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Data that the pages plot: the held-out comparison and the trajectories behind ``evaluate.json``."""

    report: dict[str, Any]
    comparison: Comparison
    trajectories: list[Trajectory]


def evaluate(
    student: DeployedStudent,
    dataset: Dataset,
    config: EvaluateConfig,
    *,
    teacher: Callable[[], Teacher] | None,
    seed: int,
    start: Mapping[str, Any] | None = None,
    on_step: Callable[[str], None] = lambda step: None,
    remember: Path | None = None,
) -> Evaluation:
    """Compare a student with its teacher on families that neither training nor early stopping has used.

    Parameters
    ----------
    student
        Student to judge.
    dataset
        Dataset with a ``test`` part.
    config
        Section ``evaluate``.
    teacher
        Function that loads the teacher for comparisons of the physics, timing, and the error floor of its forces. Where it
        is None, only the checks that ask the student alone are made.
    seed
        Seed of the initial velocities.
    start
        What :func:`~potstill.evaluate.start.seen_by_start` found, for a student that was trained from another one.
    on_step
        Function called with a text before each step.
    remember
        File for the rows of the physics checks, so that an evaluation that is stopped goes on; None for no file.

    Raises
    ------
    InputError
        If the test part is empty, or the teacher is not the one that labelled the dataset.
    """
    _refuse_other_teacher(dataset, teacher)
    held_out = [dataset[int(k)] for k in dataset.split("test")]
    if not held_out:
        raise InputError("the test part of the split is empty: raise dataset.test_fraction or the number of structures")
    baseline = _composition_baseline(dataset)
    origin = made_from(student, dataset, config, teacher() if teacher else None)
    remembered = Remembered(remember, {**origin, "seed": seed})
    asked: dict[str, Any] = {"teacher": teacher, "seed": seed, "on_step": on_step, "remembered": remembered}
    evaluation = compare(student, held_out, baseline, config, **asked)
    report = evaluation.report
    report["kinds"] = kinds_of(dataset)  # the held-out part may lack a kind that the student was trained on
    if labels_given(dataset.attributes):
        report["labels_given"] = True
    if start is not None:
        report["start"] = dict(start)
    report["findings"] = [asdict(finding) for finding in judge(report, config)]
    report["changed_gates"] = changed_limits(config)
    report["made_from"] = origin
    report["student"] = {"parameters": student.parameters, **student.model.architecture.model_dump(mode="json")}
    return evaluation


def _refuse_other_teacher(dataset: Dataset, teacher: Callable[[], Teacher] | None) -> None:
    """Refuse physics beside another teacher than that of the labels, from which the student has learned."""
    if teacher is None or labels_given(dataset.attributes):
        return
    recorded = json.loads(dataset.attributes.get("teacher") or "{}")
    remedy = "evaluate with the teacher of the dataset, or label anew: run the config into another folder"
    refuse_other_teacher("the teacher of the config", teacher().fingerprint, recorded, remedy)


def compare(
    student: Model,
    structures: Sequence[Structure],
    baseline: Array,
    config: EvaluateConfig,
    *,
    teacher: Callable[[], Teacher] | None,
    seed: int,
    on_step: Callable[[str], None] = lambda step: None,
    remembered: Remembered | None = None,
) -> Evaluation:
    """Compare any model with a teacher.

    Parameters
    ----------
    student
        Model to judge.
    structures
        (S,) structures labelled by the teacher, at least one.
    baseline
        (S,) energy per atom in eV that the composition alone predicts.
    config, teacher, seed, on_step
        As in :func:`evaluate`.
    remembered
        Rows of the same evaluation before it was stopped; None for none.
    """
    keep_freed_memory()
    torch.set_num_threads(available_cores())
    on_step("errors")
    comparison = Comparison(structures, _label_by_size(student, structures))
    report: dict[str, Any] = summary(comparison, baseline)
    report["kinds"] = _kinds(np.array([s.pbc for s in structures]))
    report["teacher_asked"] = teacher is not None
    report["per_source"] = {
        name: summary(comparison.subset(rows), baseline[rows])
        for name in sorted(set(comparison.sources))
        for rows in [np.flatnonzero(comparison.sources == name)]
    }
    report["per_element"] = per_element(comparison)
    report["per_force"] = by_magnitude(comparison)
    if student.uncertainty is not None:
        known = student.uncertainty
        report["uncertainty"] = judge_uncertainty(*comparison.expectations(), float(known.threshold), float(known.bound))
    if teacher is not None:
        on_step("the part of the teacher's forces that no student can have")
        report["force_floor"] = _force_floor(teacher(), structures, seed)
    systems = [s for s in (pick(structures, periodic=True), pick(structures, periodic=False)) if s is not None]
    trajectories = []
    for system in systems if config.nve_ps else []:
        on_step(f"constant-energy dynamics of {system.id}")
        trajectories.append(
            run_nve(student, system, length_ps=config.nve_ps, temperature_kelvin=config.nve_temperature_kelvin, seed=seed)
        )
    report["nve"] = [trajectory.report() for trajectory in trajectories]
    report["physics"], report["speed"], report["speed_by_size"] = [], [], []
    reference = None if teacher is None else TeacherCalculator(teacher())
    reach = REACH * student.cutoff_angstrom if isinstance(student, DeployedStudent) else USUAL_ANGSTROM
    shared: dict[str, Any] = {"image_angstrom": reach, "seed": seed, "on_step": on_step, "remembered": remembered}
    rows = measure(student.calculator(), reference, structures, config, **shared)
    report["physics"] = [row.report() for row in rows]
    if teacher is not None:
        on_step("speed beside the teacher")
        repeats = config.speed_repeats
        report["speed"] = compare_speed(student, teacher(), _speed_systems(systems, structures), repeats=repeats)
        crystals = [s for s in systems if s.pbc.all()]
        if crystals and config.speed_atoms:
            sizes = [n for n in SPEED_SIZES if n <= config.speed_atoms]
            report["speed_by_size"] = speed_by_size(student, teacher(), crystals[0], atoms=sizes, repeats=repeats)
    report["findings"] = [asdict(finding) for finding in judge(report, config)]
    return Evaluation(report, comparison, trajectories)


def _kinds(pbc: Array) -> dict[str, bool]:
    """Return whether structures of each kind are among those with these (S, 3) periodic directions."""
    return {"crystals": bool(pbc.all(axis=1).any()), "molecules": bool((~pbc.any(axis=1)).any())}


def _force_floor(teacher: Teacher, structures: Sequence[Structure], seed: int) -> dict[str, Any] | None:
    """Measure the error floor of the teacher's forces on a few structures; None where it labels none of them."""
    few = [s.with_(labels=None) for s in structures[:: max(1, len(structures) // FLOOR_STRUCTURES)][:FLOOR_STRUCTURES]]
    try:
        return force_floor(teacher, few, directions=FLOOR_DIRECTIONS, seed=seed).report()
    except InputError:
        return None


def _label_by_size(student: Model, structures: Sequence[Structure]) -> list[Any]:
    order = sorted(range(len(structures)), key=lambda k: len(structures[k]))
    labels: dict[int, Any] = {}
    for start in range(0, len(order), AT_ONCE):
        chosen = order[start : start + AT_ONCE]
        known = student.uncertainty is not None
        labels.update(zip(chosen, student.label([structures[k] for k in chosen], uncertainty=known), strict=True))
    return [labels[k] for k in range(len(structures))]


def _composition_baseline(dataset: Dataset) -> Array:
    """Return (S,) energies per atom predicted by reference energies alone, fitted to the training part."""
    elements, amounts, energy = compositions(dataset.select("train"))
    held_out = composition_matrix(dataset.gather(dataset.split("test")), elements)
    return np.asarray(held_out @ fit_reference_energies(amounts, energy) / held_out.sum(axis=1))


def _speed_systems(systems: Sequence[Structure], held_out: Sequence[Structure]) -> list[tuple[str, Sequence[Structure]]]:
    named: list[tuple[str, Sequence[Structure]]] = [(f"{s.id} ({s.formula})", [s]) for s in systems]
    crystals = [s for s in systems if s.pbc.all()]
    named += [(f"{s.id} ({s.formula}) repeated", [repeat_crystal(s, LARGE_CRYSTAL)]) for s in crystals]
    batch = list(held_out[:SPEED_STRUCTURES])
    named.append((f"{len(batch)} structures in one call", batch))
    return named
