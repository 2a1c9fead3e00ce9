"""The stage ``label``: ``structures/structures.h5`` in, labelled parts and then ``dataset.h5`` out.

A task labels a range of structures with one thread and seals a part file. A part contains the teacher's fingerprint, and
parts of two teachers are never merged. Structures that the teacher cannot label, or labels beyond the limits, are refused
with a reason and counted. The same holds for a structure on which it hangs or ends its process (see
:mod:`potstill.label.lost_tasks`).
"""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import psutil

from potstill.core.errors import DatasetError, PotstillError
from potstill.core.types import Array, Labels, Refused, Structure, Teacher
from potstill.dataset import Dataset, merge, split_by_family, write_part
from potstill.execute import Executor, LocalExecutor, expect_within
from potstill.execute.memory import keep_freed_memory
from potstill.label.asked import asked_of, set_aside_others
from potstill.label.lost_tasks import LostTasks
from potstill.label.output import output_in
from potstill.label.tasks import LabelTask, range_of, spread, tasks_of
from potstill.teacher.batching import LABELLING, LOADING, asking, gpus_of
from potstill.teacher.extras import add_extras
from potstill.teacher.messages import as_number
from potstill.teacher.opening import open_once
from potstill.teacher.options import TeacherOptions

BEYOND_LIMITS = ("force_limit", "stress_limit")  # reasons to refuse a label that the teacher gave
WORKERS_PER_GPU = 2
TEACHER_LOG = "teacher.log"  # in the folder of the parts: output of the teachers

if TYPE_CHECKING:
    from potstill.dataset.options import SplitConfig
    from potstill.label.options import LabelConfig


@dataclass(frozen=True, slots=True)
class LabelCount:
    """Labels and refusals of one task, in sum and by source; ``worker`` (``host:process``) is empty for a part found."""

    labelled: int
    refused: int
    seconds: float
    sources: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    worker: str = ""
    memory_bytes: int = 0
    beyond_limits: int = 0  # of the refused ones, those whose label exceeds the limits of force and stress


def label(
    config: LabelConfig,
    structures: Path,
    folder: Path,
    *,
    workers: int = 0,
    executor: Executor | None = None,
    on_progress: Callable[[LabelCount], None] = lambda count: None,
) -> list[Path]:
    """Label every structure of a file into parts.

    Parameters
    ----------
    config
        Section ``label`` of the config.
    structures
        File of unlabelled structures.
    folder
        Folder of the parts; those that are already there are kept.
    workers
        Number of processes on this machine, each with one thread; 0 means every core.
    executor
        Executor that runs the tasks instead of local processes.
    on_progress
        Function called after each finished task, also for those found finished.

    Returns
    -------
    list of Path
        Part files in the order of the structures.
    """
    asked = Dataset(structures)
    folder, structures = folder.absolute(), structures.absolute()  # a teacher may change the current folder of a worker
    set_aside_others(tasks_of(config, structures, folder, total=len(asked)), asked)
    planned = tasks_of(config, structures, folder, total=len(asked))
    for task in planned:
        if task.path.exists():
            on_progress(_count(task.path))
    tracked = LostTasks(planned)
    log = folder / TEACHER_LOG
    executor = executor or LocalExecutor(workers)
    try:
        executor.run(
            label_structures,
            spread([task for task in planned if not task.path.exists()]),
            on_done=lambda task, count: on_progress(count),
            on_lost=tracked.instead,
            isolated=True,
            at_most=workers_at_once(config.teacher, executor),
        )
    finally:
        if log.exists() and log.stat().st_size == 0:
            log.unlink()
    return [task.path for task in tracked.planned]


def workers_at_once(teacher: TeacherOptions, executor: Executor) -> int:
    """Return how many workers label at the same time: on the GPUs of this machine, two for each GPU.

    While one of the two computes, the other makes graphs. More would only share the memory of the GPU. An executor of a
    cluster assigns GPUs itself.
    """
    gpus = gpus_of(getattr(teacher, "device", "cpu")) if isinstance(executor, LocalExecutor) else 0
    return min(executor.workers, WORKERS_PER_GPU * gpus) if gpus else executor.workers


def label_structures(task: LabelTask) -> LabelCount:
    """Label and seal the structures of one task (runs in a worker)."""
    started = time.perf_counter()
    expect_within(None, LOADING)
    asked = Dataset(task.structures)
    structures = asked[task.start : task.stop]
    with output_in(task.path.parent / TEACHER_LOG):
        teacher = _teacher(task.teacher)
        answers = [task.refuse] * len(structures) if task.refuse else _watched(teacher, structures, task)
    expect_within(None, "writing")
    labelled = [s.with_(labels=a) for s, a in zip(structures, answers, strict=True) if isinstance(a, Labels)]
    refused = [
        Refused(a.reason, a.detail, id=s.id, source=s.source, stage="label")
        for s, a in zip(structures, answers, strict=True)
        if isinstance(a, Refused)
    ]
    seconds = time.perf_counter() - started
    attributes = {
        "teacher": dict(teacher.fingerprint),
        "seconds": seconds,
        "max_force": task.max_force,
        "max_stress": task.max_stress,
        "asked": asked_of(task, asked),
    }
    if task.committee:
        attributes["committee"] = [dict(_teacher(member).fingerprint) for member in task.committee]
    write_part(task.path, labelled, refused, labelled=True, attributes=attributes)
    return LabelCount(
        len(labelled),
        len(refused),
        seconds,
        _by_source([s.source for s in labelled], [r.source for r in refused]),
        worker=f"{platform.node()}:{os.getpid()}",
        memory_bytes=psutil.Process().memory_info().rss,
        beyond_limits=sum(r.reason in BEYOND_LIMITS for r in refused),
    )


def _watched(teacher: Teacher, structures: Sequence[Structure], task: LabelTask) -> Sequence[Labels | Refused]:
    """Return the teacher's answers; the time limit counts per structure of a batch, or of the task without heartbeats."""

    def promise(count: int) -> None:
        expect_within(None if task.timeout_seconds is None else count * task.timeout_seconds, LABELLING)

    promise(len(structures))
    before = asking.set(promise)
    try:
        answers = ask(teacher, structures, task.max_force, task.max_stress)
        return add_extras(task.extra, teacher, [_teacher(member) for member in task.committee], structures, answers)
    finally:
        asking.reset(before)


def ask(
    teacher: Teacher, structures: Sequence[Structure], max_force: float, max_stress: float = math.inf
) -> list[Labels | Refused]:
    """Return a teacher's answers after a check of shapes, finite numbers, and limits of force and stress.

    Raises
    ------
    PotstillError
        If the number of answers differs from that of the structures, or the fingerprint changes meanwhile.
    """
    before = [_content(s) for s in structures]
    fingerprint = dict(teacher.fingerprint)
    answers = teacher.label(structures)
    if len(answers) != len(structures):
        raise PotstillError(
            f"the teacher returned {len(answers)} answers for {len(structures)} structures, expected one for each"
        )
    if dict(teacher.fingerprint) != fingerprint:
        raise PotstillError(
            f"the teacher's fingerprint changed while it labelled:\n  {fingerprint}\n  {dict(teacher.fingerprint)}"
        )
    return [
        Refused("input_changed", "the teacher changed its input structure")
        if _content(structure) != content
        else _screen(structure, answer, max_force, max_stress)
        for structure, content, answer in zip(structures, before, answers, strict=True)
    ]


def _content(structure: Structure) -> bytes:
    arrays = (structure.atomic_numbers, structure.positions, structure.cell, structure.pbc)
    return b"".join(array.tobytes() for array in arrays)


def _screen(structure: Structure, answer: Any, max_force: float, max_stress: float) -> Labels | Refused:
    """Return the answer, or its refusal. Teachers are external code, so every property is checked."""
    if isinstance(answer, Refused):
        return answer
    if not isinstance(answer, Labels):
        return Refused("wrong_type", f"expected Labels or Refused, found {type(answer).__name__}")
    given = {"energy": as_number(answer.energy), "forces": answer.forces}
    if answer.stress is not None:
        given["stress"] = answer.stress
    arrays = {name: np.asarray(value) for name, value in given.items()}
    fault = _malformed(structure, arrays) or _beyond(arrays, max_force, max_stress)
    if fault is not None:
        return fault
    return Labels(float(arrays["energy"]), arrays["forces"], arrays.get("stress"), _extra(structure, answer))


def _beyond(arrays: Mapping[str, Array], max_force: float, max_stress: float) -> Refused | None:
    """Return a refusal where the numbers are not finite or too large, else None."""
    if not all(np.isfinite(array).all() for array in arrays.values()):
        return Refused("not_finite", "energy, forces or stress are not finite")
    largest = float(np.linalg.norm(arrays["forces"], axis=1).max())
    if largest > max_force:
        return Refused("force_limit", f"largest force {largest:.1f} eV/Å > {max_force:g}")
    strongest = float(np.abs(arrays["stress"]).max()) if "stress" in arrays else 0.0
    if strongest > max_stress:
        return Refused("stress_limit", f"largest component of stress {strongest:.2f} eV/Å^3 > {max_stress:g}")
    return None


def _extra(structure: Structure, answer: Labels) -> dict[str, Array]:
    """Return the teacher's further arrays per atom, where they are real numbers for each atom."""
    arrays = {name: np.asarray(value) for name, value in dict(answer.extra).items()}
    return {name: rows for name, rows in arrays.items() if rows.dtype.kind in "fiu" and rows.shape[:1] == (len(structure),)}


def _malformed(structure: Structure, arrays: Mapping[str, Array]) -> Refused | None:
    shapes = {"energy": (), "forces": (len(structure), 3), "stress": (3, 3)}
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu":
            return Refused("wrong_type", f"{name} of type {array.dtype}, expected real numbers")
        if array.shape != shapes[name]:
            return Refused("wrong_shape", f"{name} of shape {array.shape}, expected {shapes[name]}")
    if "stress" in arrays and not structure.pbc.all():
        return Refused("wrong_shape", "stress of a structure that is not periodic along all three axes, expected None")
    return None


def assemble(
    parts: Sequence[Path],
    generated: Path,
    path: Path,
    *,
    split: SplitConfig,
    seed: int,
    attributes: Mapping[str, Any],
    partial: bool = False,
) -> None:
    """Merge labelled parts into ``dataset.h5`` with its split and every refusal; ``partial`` if some are missing.

    Raises
    ------
    DatasetError
        If the parts were labelled by different teachers, or hold structures other than the generated ones.
    """
    fingerprints = sorted({_attribute(part, "teacher") for part in parts})
    if len(fingerprints) > 1:
        raise DatasetError(
            "the labelled parts come from different teachers:\n  " + "\n  ".join(fingerprints) + "\n"
            "  remove the folder 'label' of the run and label again with one of them"
        )
    names = Dataset(generated).ids.tolist()
    _refuse_other_structures(parts, [names[k] for part in parts for k in range_of(part)] if partial else names)
    seconds = sum(float(_attribute(part, "seconds")) for part in parts)
    # a kill may remove time from the run's record; the sum over parts keeps the labelling rate true
    wall = max(float(attributes.get("label_seconds", 0.0)), seconds / max(int(attributes.get("workers", 1)), 1))
    families, elements = _families(parts)
    merge(
        parts,
        path,
        attributes={
            **attributes,
            "teacher": fingerprints[0],
            "label_seconds": wall,
            "label_worker_seconds": seconds,
        },
        splits=split_by_family(
            families, elements, valid_fraction=split.valid_fraction, test_fraction=split.test_fraction, seed=seed
        ),
        refused_before=generated,
    )


def _refuse_other_structures(parts: Sequence[Path], ids: list[str]) -> None:
    """Raise DatasetError unless the parts, in order, hold each generated structure once and no other."""
    at = 0
    for part in parts:
        found = Dataset(part)
        names = [*found.ids.tolist(), *(refusal.id for refusal in found.refused)]
        if sorted(names) != sorted(ids[at : at + len(names)]):
            raise DatasetError(
                f"{part} contains labels of structures other than the generated ones\n"
                "  remove it, then label again with:  potstill run CONFIG --out RUN --resume"
            )
        at += len(names)
    if at != len(ids):
        raise DatasetError(f"the labelled parts contain {at} structures, expected the {len(ids)} generated ones")


def _families(parts: Sequence[Path]) -> tuple[list[str], list[frozenset[int]]]:
    families: list[str] = []
    elements: list[frozenset[int]] = []
    for part in parts:
        with h5py.File(part, "r") as file:
            families += list(file["structures/family"].asstr()[:]) if len(file["structures/family"]) else []
            ptr, numbers = file["structures/ptr"][:], file["atoms/atomic_numbers"][:]
        elements += [frozenset(numbers[a:b].tolist()) for a, b in pairwise(ptr)]
    return families, elements


def _teacher(options: TeacherOptions) -> Teacher:
    """Return the teacher of this process, loaded once; workers are spawned, so they share nothing with their parent."""
    keep_freed_memory()
    return open_once(options)


def _count(part: Path) -> LabelCount:
    with h5py.File(part, "r") as file:
        labelled, refused = (list(file[f"{group}/source"].asstr()[:]) for group in ("structures", "refused"))
        beyond = sum(reason in BEYOND_LIMITS for reason in file["refused/reason"].asstr()[:])
        counts = (len(labelled), len(refused), float(file.attrs["seconds"]))
        return LabelCount(*counts, _by_source(labelled, refused), beyond_limits=beyond)


def _by_source(labelled: Sequence[str], refused: Sequence[str]) -> dict[str, tuple[int, int]]:
    one, other = Counter(labelled), Counter(refused)
    return {name: (one[name], other[name]) for name in sorted(one | other)}


def _attribute(part: Path, name: str) -> str:
    with h5py.File(part, "r") as file:
        value = file.attrs[name]
    return value if isinstance(value, str) else json.dumps(float(value))
