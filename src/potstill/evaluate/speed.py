"""Student against teacher on the clock: the same structures, batch, threads, neighbour lists inside, in turn, warm."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import psutil
import torch

from potstill.core.dynamics import enlarge
from potstill.core.types import Structure, Teacher
from potstill.evaluate.dynamics import TIMESTEP_FS
from potstill.evaluate.model import Model

PATIENCE_S, LOOK_EVERY_S, SECONDS_PER_DAY = 2.0, 2e-3, 86400.0


def compare_speed(
    student: Model, teacher: Teacher, systems: Sequence[tuple[str, Sequence[Structure]]], *, repeats: int
) -> list[dict[str, Any]]:
    """Median time of energy, forces and stress of each system, student and teacher called in turn.

    Parameters
    ----------
    student, teacher
        Both label a list of structures.
    systems
        Name and structures, which both get in one call.
    repeats
        Timed calls of each, after one that is not counted.
    """
    return [_compare(student, teacher, name, structures, repeats) for name, structures in systems]


def _compare(student: Model, teacher: Teacher, name: str, structures: Sequence[Structure], repeats: int) -> dict[str, Any]:
    times: dict[str, list[float]] = {"student": [], "teacher": []}
    for repeat in range(repeats + 1):
        for who, model in (("student", student), ("teacher", teacher)):
            started = perf_counter()
            model.label(structures)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if repeat:
                times[who].append(perf_counter() - started)
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
    """Steps per second, nanoseconds per day and memory of one crystal repeated to more and more atoms.

    Times are taken in turn, memory in a pass of its own before: the growth of this process over what it was before the first
    size. A model that took longer than :data:`PATIENCE_S` for a call is not asked for larger cells.

    Parameters
    ----------
    student, teacher
        Both label a list of structures; the teacher in its fastest mode.
    crystal
        Periodic in three directions.
    atoms
        At least as many atoms each, ascending.
    repeats
        Timed calls of each.
    """
    cells = list({len(s): s for s in (enlarge(crystal, n) for n in atoms)}.values())
    memory = {who: _memory(model, cells) for who, model in (("student", student), ("teacher", teacher))}
    rows = []
    for k, cell in enumerate(cells):
        times: dict[str, list[float]] = {"student": [], "teacher": []}
        for _ in range(repeats):
            for who, model in (("student", student), ("teacher", teacher)):
                if k < len(memory[who]):
                    times[who].append(_seconds(model, cell))
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


def _seconds(model: Model | Teacher, structure: Structure) -> float:
    started = perf_counter()
    model.label([structure])
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return perf_counter() - started


def _memory(model: Model | Teacher, cells: Sequence[Structure]) -> list[int]:
    """Growth of this process, or of the memory of the GPU, up to each size; it ends where a call takes too long."""
    process, grown = psutil.Process(), [0]
    start = process.memory_info().rss
    for cell in cells:
        with _watched(process) as peak:
            seconds = _seconds(model, cell)
        used = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else peak() - start
        grown.append(max(grown[-1], int(used)))
        if seconds > PATIENCE_S:
            break
    return grown[1:]


@contextmanager
def _watched(process: psutil.Process) -> Iterator[Callable[[], int]]:
    """The largest resident memory while the block runs, looked at every two milliseconds by a thread."""
    seen, done = [process.memory_info().rss], threading.Event()

    def look() -> None:
        while not done.wait(LOOK_EVERY_S):
            seen.append(process.memory_info().rss)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield lambda: max(*seen, process.memory_info().rss)
    finally:
        done.set()
        thread.join()
