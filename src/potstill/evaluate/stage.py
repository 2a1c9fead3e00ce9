"""The stage ``evaluate``: held-out families, physics and speed of a student beside its teacher, ``evaluate.json`` out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from potstill.audit.checks import at_most, not_run
from potstill.dataset import Dataset
from potstill.deploy.student import DeployedStudent
from potstill.errors import InputError
from potstill.evaluate.dynamics import Trajectory, enlarge, run_nve
from potstill.evaluate.errors import Comparison, per_element, summary
from potstill.evaluate.speed import compare_speed
from potstill.execute import available_cores
from potstill.execute.memory import keep_freed_memory
from potstill.label.floor import force_floor
from potstill.train.references import composition_matrix, compositions, fit_reference_energies
from potstill.types import Array, Finding, Structure, Teacher

if TYPE_CHECKING:
    from potstill.config import EvaluateConfig

BATCH_STRUCTURES = 32
LARGE_CRYSTAL = 200
SPEED_BATCH = 16
FLOOR_STRUCTURES, FLOOR_DIRECTIONS = 8, 4  # nine questions to the teacher for each


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What the pages draw: the held-out comparison and the trajectories behind ``evaluate.json``."""

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
    on_step: Callable[[str], None] = lambda step: None,
) -> Evaluation:
    """Hold a student against its teacher on families that neither training nor its end has seen.

    Parameters
    ----------
    student
        To be judged.
    dataset
        With a ``test`` part.
    config
        Section ``evaluate``.
    teacher
        Loads the teacher for the timing and for what of its forces no student can have; without it there is neither.
    seed
        Of the initial velocities.
    on_step
        Told what comes next.

    Raises
    ------
    InputError
        If the test part is empty.
    """
    keep_freed_memory()
    torch.set_num_threads(available_cores())
    held_out = [dataset[int(k)] for k in dataset.split("test")]
    if not held_out:
        raise InputError("the test part of the split is empty: raise dataset.test_fraction or the number of structures")
    on_step("errors on held-out families")
    comparison = Comparison(held_out, _label_in_batches(student, held_out))
    baseline = _composition_baseline(dataset)
    report: dict[str, Any] = summary(comparison, baseline)
    report["per_source"] = {
        name: summary(comparison.subset(rows), baseline[rows])
        for name in sorted(set(comparison.sources))
        for rows in [np.flatnonzero(comparison.sources == name)]
    }
    report["per_element"] = per_element(comparison)
    if teacher is not None:
        on_step("the part of the teacher's forces that no student can have")
        report["force_floor"] = _force_floor(teacher(), held_out, seed)
    systems = [s for s in (pick(held_out, periodic=True), pick(held_out, periodic=False)) if s is not None]
    trajectories = []
    for system in systems if config.nve_ps else []:
        on_step(f"constant-energy dynamics of {system.id}")
        trajectories.append(
            run_nve(student, system, length_ps=config.nve_ps, temperature_kelvin=config.nve_temperature_kelvin, seed=seed)
        )
    report["nve"] = [trajectory.report() for trajectory in trajectories]
    report["speed"] = []
    if teacher is not None:
        on_step("speed beside the teacher")
        report["speed"] = compare_speed(student, teacher(), _speed_systems(systems, held_out), repeats=config.speed_repeats)
    findings = judge(report, config)
    report["findings"] = [asdict(finding) for finding in findings]
    report["student"] = {"parameters": student.parameters, **student.model.architecture.model_dump(mode="json")}
    return Evaluation(report, comparison, trajectories)


def judge(report: dict[str, Any], config: EvaluateConfig) -> list[Finding]:
    """Gates on the figures of ``evaluate.json``; can be asked again with other limits."""
    findings = [_force_gate("force_error", report["forces"], config.max_force_error_ratio, "all held-out families")]
    for name, figures in report["per_source"].items():
        limit = config.max_force_error_ratio_per_source
        findings.append(_force_gate(f"force_error_{name}", figures["forces"], limit, f"held-out families of {name}"))
    for row in report["nve"]:
        drift = row["drift_mev_per_atom"] if row["finite"] else float("inf")
        why = f"{row['kind']} {row['system']}, {row['atoms']} atoms, {row['steps']} steps of {row['timestep_fs']} fs"
        findings.append(at_most(f"nve_{row['kind']}", drift, config.max_nve_drift_mev_per_atom, "meV/atom", why))
    if not report["nve"]:
        findings.append(not_run("nve", "meV/atom", "no constant-energy run was asked for, or no structure to run"))
    return findings


def _force_floor(teacher: Teacher, structures: Sequence[Structure], seed: int) -> dict[str, Any] | None:
    """Of a few structures; None where the teacher labels none of them now."""
    few = [s.with_(labels=None) for s in structures[:: max(1, len(structures) // FLOOR_STRUCTURES)][:FLOOR_STRUCTURES]]
    try:
        return force_floor(teacher, few, directions=FLOOR_DIRECTIONS, seed=seed).report()
    except InputError:
        return None


def _force_gate(check: str, forces: dict[str, Any], limit: float, where: str) -> Finding:
    why = f"{where}: {forces['mae']:.3f} eV/Å against {forces['zero_baseline_mae']:.3f} eV/Å of predicting zero"
    if forces["ratio_to_zero_baseline"] is None:
        return not_run(check, "of zero baseline", f"{where}: every force of the teacher is zero")
    return at_most(check, forces["ratio_to_zero_baseline"], limit, "of zero baseline", why)


def pick(structures: Sequence[Structure], *, periodic: bool) -> Structure | None:
    """The held-out structure that dynamics starts from: near equilibrium, and the largest of those.

    Near equilibrium means that the teacher's largest force is in the lowest quarter of its kind.
    """
    kind = [s for s in structures if bool(s.pbc.all()) == periodic and s.labels is not None and len(s) > 1]
    if not kind:
        return None
    force = np.array([np.linalg.norm(s.labels.forces, axis=1).max() for s in kind if s.labels is not None])
    calm = [s for s, f in zip(kind, force, strict=True) if f <= np.quantile(force, 0.25)]
    return max(calm, key=lambda s: (len(s), s.id))


def _label_in_batches(student: DeployedStudent, structures: Sequence[Structure]) -> list[Any]:
    order = sorted(range(len(structures)), key=lambda k: len(structures[k]))
    labels: dict[int, Any] = {}
    for start in range(0, len(order), BATCH_STRUCTURES):
        chosen = order[start : start + BATCH_STRUCTURES]
        labels.update(zip(chosen, student.label([structures[k] for k in chosen]), strict=True))
    return [labels[k] for k in range(len(structures))]


def _composition_baseline(dataset: Dataset) -> Array:
    """(S,) energy per atom predicted by reference energies alone, fitted to the training part."""
    elements, amounts, energy = compositions(dataset.select("train"))
    held_out = composition_matrix(dataset.gather(dataset.split("test")), elements)
    return np.asarray(held_out @ fit_reference_energies(amounts, energy) / held_out.sum(axis=1))


def _speed_systems(systems: Sequence[Structure], held_out: Sequence[Structure]) -> list[tuple[str, Sequence[Structure]]]:
    named: list[tuple[str, Sequence[Structure]]] = [(f"{s.id} ({s.formula})", [s]) for s in systems]
    crystals = [s for s in systems if s.pbc.all()]
    named += [(f"{s.id} ({s.formula}) repeated", [enlarge(s, LARGE_CRYSTAL)]) for s in crystals]
    batch = list(held_out[:SPEED_BATCH])
    named.append((f"{len(batch)} held-out structures in one call", batch))
    return named
