"""Student against teacher on the clock: the same structures, batch, threads, neighbour lists inside, in turn, warm."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import torch

from potstill.evaluate.model import Model
from potstill.types import Structure, Teacher


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
