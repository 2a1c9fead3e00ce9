"""Time of student and teacher for the same structures: in turn, after a warm-up, with equal threads and batches.

No call is timed twice on the same positions, because a calculator may return its last result from memory.
"""

from __future__ import annotations

import logging
import statistics
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import numpy as np
import psutil
import torch

from potstill.core.dynamics import repeat_crystal
from potstill.core.errors import InputError
from potstill.core.types import Refused, Structure, Teacher
from potstill.evaluate.dynamics import TIMESTEP_FS
from potstill.evaluate.model import Model
from potstill.teacher.isolated import IsolatedTeacher

log = logging.getLogger(__name__)
LONGEST_CALL_S, LOOK_EVERY_S, SECONDS_PER_DAY = 2.0, 2e-3, 86400.0
ENOUGH_CALLS, ENOUGH_S = 3, 5.0  # timed calls of each model, and their sum, after which a system gets no more of them
STEP_ANGSTROM = 1e-3  # displacement of the atoms between two calls, as in a step of dynamics


class NotTimedError(Exception):
    """Raised when a model refused a structure, so that its time has no meaning."""


def compare_speed(
    student: Model, teacher: Teacher, systems: Sequence[tuple[str, Sequence[Structure]]], *, repeats: int
) -> list[dict[str, Any]]:
    """Return the median time of energy, forces and stress of each system, student and teacher called in turn.

    A system that one of them refuses has no row.

    Parameters
    ----------
    student, teacher
        Models that label a list of structures.
    systems
        Name and structures of each system, labelled in one call.
    repeats
        Number of timed calls of each, after one that is not counted; fewer where the model is slow
        (:data:`ENOUGH_CALLS`, :data:`ENOUGH_S`).
    """
    rows = []
    for name, structures in systems:
        try:
            rows.append(_compare(student, teacher, name, structures, repeats))
        except NotTimedError as error:
            log.warning("%s is not timed: %s", name, error)
    return rows


def _compare(student: Model, teacher: Teacher, name: str, structures: Sequence[Structure], repeats: int) -> dict[str, Any]:
    times: dict[str, list[float]] = {"student": [], "teacher": []}
    for repeat in range(repeats + 1):
        moved = _moved(structures, repeat)
        for who, model in (("student", student), ("teacher", teacher)):
            seconds = _seconds(model, moved)
            if repeat:
                times[who].append(seconds)
        if _enough(times):
            break
    medians = {who: statistics.median(values) for who, values in times.items()}
    return {
        "system": name,
        "structures": len(structures),
        "atoms": sum(len(s) for s in structures),
        "student_s": medians["student"],
        "teacher_s": medians["teacher"],
        "ratio": medians["teacher"] / medians["student"],
        "threads": torch.get_num_threads(),
        "device": student.device,
    }


def speed_by_size(
    student: Model, teacher: Teacher, crystal: Structure, *, atoms: Sequence[int], repeats: int
) -> list[dict[str, Any]]:
    """Return steps per second, nanoseconds per day and memory of one crystal repeated to more and more atoms.

    Times are taken in turn. Memory is measured earlier in a separate pass: the growth of the model's process since before
    the first size. A model that took longer than :data:`LONGEST_CALL_S` for a call gets no larger cells.

    Parameters
    ----------
    student, teacher
        Models that label a list of structures; the teacher in its fastest mode.
    crystal
        Crystal periodic in three directions.
    atoms
        Smallest number of atoms of each size, ascending.
    repeats
        Number of timed calls of each; fewer where the model is slow (:data:`ENOUGH_CALLS`, :data:`ENOUGH_S`).
    """
    cells = list({len(s): s for s in (repeat_crystal(crystal, n) for n in atoms)}.values())
    memory = {who: _memory(model, cells) for who, model in (("student", student), ("teacher", teacher))}
    rows = []
    for k, cell in enumerate(cells):
        times: dict[str, list[float]] = {"student": [], "teacher": []}
        for repeat in range(repeats):
            moved = _moved([cell], repeat + 1)
            for who, model in (("student", student), ("teacher", teacher)):
                if k < len(memory[who]):
                    times[who].append(_seconds(model, moved))
            if _enough(times):
                break
        row: dict[str, Any] = {"system": crystal.id, "atoms": len(cell), "threads": torch.get_num_threads()}
        for who, values in times.items():
            seconds = statistics.median(values) if values else None
            row |= {
                f"{who}_s": seconds,
                f"{who}_steps_per_second": 1 / seconds if seconds else None,
                f"{who}_ns_per_day": SECONDS_PER_DAY / seconds * 1e-6 * TIMESTEP_FS if seconds else None,
                f"{who}_memory_bytes": memory[who][k] if values else None,
            }
        rows.append(row)
    return rows


def _enough(times: dict[str, list[float]]) -> bool:
    """Return whether slow calls have been timed often enough for a median."""
    return max(map(len, times.values())) >= ENOUGH_CALLS and sum(map(sum, times.values())) > ENOUGH_S


def _moved(structures: Sequence[Structure], call: int) -> list[Structure]:
    """Return the structures with positions that differ from those of all other calls."""
    rng = np.random.default_rng(call)
    steps = [rng.normal(0.0, STEP_ANGSTROM, s.positions.shape) for s in structures]
    return [s.with_(positions=s.positions + step, labels=None) for s, step in zip(structures, steps, strict=True)]


def _seconds(model: Model | Teacher, structures: Sequence[Structure]) -> float:
    """Return the time of one call in s; for a teacher in a process of its own, by the clock of that process.

    Raises
    ------
    NotTimedError
        If the model refuses a structure.
    """
    started = perf_counter()
    try:
        answers = model.label(structures)
    except InputError as error:
        raise NotTimedError(str(error)) from error
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    seconds = perf_counter() - started
    refused = next((a for a in answers if isinstance(a, Refused)), None)
    if refused is not None:
        raise NotTimedError(f"{refused.reason}: {refused.detail}")
    remote = _in_its_own_process(model)
    return remote.seconds if remote is not None else seconds


def _in_its_own_process(model: Model | Teacher) -> IsolatedTeacher | None:
    """Return the teacher behind a model that runs in another process; None where the model runs in this one."""
    teacher = getattr(model, "teacher", model)
    return teacher if isinstance(teacher, IsolatedTeacher) else None


def _memory(model: Model | Teacher, cells: Sequence[Structure]) -> list[int]:
    """Return the growth of the model's process, or the GPU memory, up to each size; it ends at a slow call."""
    remote, grown, before = _in_its_own_process(model), [0], _start_of_device_bytes()
    try:
        process = psutil.Process(None if remote is None else remote.process)
        start = process.memory_info().rss
        for cell in cells:
            with _watched(process) as peak:
                seconds = _seconds(model, _moved([cell], 0))
            on_device = _device_bytes(remote, before)
            grown.append(max(grown[-1], on_device or int(peak() - start)))
            if seconds > LONGEST_CALL_S:
                break
    except (NotTimedError, psutil.NoSuchProcess) as error:
        log.warning("sizes beyond %d atoms are not timed: %s", len(cells[len(grown) - 2]) if len(grown) > 1 else 0, error)
    return grown[1:]


def _start_of_device_bytes() -> int:
    """Return the GPU memory that this process has now, and forget that it has had more, as in a training before."""
    if not torch.cuda.is_initialized():
        return 0
    torch.cuda.reset_peak_memory_stats()
    return int(torch.cuda.memory_allocated())


def _device_bytes(remote: IsolatedTeacher | None, before: int) -> int:
    if remote is not None:
        return remote.device_bytes
    return int(torch.cuda.max_memory_allocated()) - before if torch.cuda.is_initialized() else 0


@contextmanager
def _watched(process: psutil.Process) -> Iterator[Callable[[], int]]:
    """Yield a function that returns the largest resident memory in the block; a thread measures it every 2 ms."""
    seen, done = [process.memory_info().rss], threading.Event()

    def look() -> None:
        while not done.wait(LOOK_EVERY_S):
            try:
                seen.append(process.memory_info().rss)
            except psutil.NoSuchProcess:
                return

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield lambda: max(*seen, process.memory_info().rss)
    finally:
        done.set()
        thread.join()
