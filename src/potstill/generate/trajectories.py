"""Trajectories: sources in which a teacher moves the atoms, with frames along the way.

Index ``i`` is frame ``i % frames`` of trajectory ``i // frames``. Each trajectory has its own random numbers, so a frame
does not depend on the process that makes it. A task holds whole trajectories, so none is made twice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Annotated

import numpy as np
from pydantic import Field

from potstill.core.geometry import smallest_scaled_distance
from potstill.core.types import Array, Refused, Structure, Teacher
from potstill.generate.parents import NO_PARENT, DerivedOptions
from potstill.generate.source import random_generator
from potstill.generate.teachers import one_thread, teacher_of
from potstill.teacher.choices import AnyTeacher

CANDIDATES_PER_TASK = 8  # a candidate costs many calls of the teacher


class TrajectoryError(Exception):
    """Raised by a trajectory that cannot continue; its missing frames are refused with this reason and detail."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class TrajectoryOptions(DerivedOptions, ABC):
    """Options of a source whose candidates are frames of trajectories."""

    max_atoms: Annotated[int, Field(gt=0, description="largest structure")] = 100
    teacher: Annotated[
        AnyTeacher | None,
        Field(
            description="teacher that moves the atoms, with the options of label.teacher; the teacher of the labels "
            "where null"
        ),
    ] = None
    frames: Annotated[int, Field(gt=0, description="number of frames of each trajectory")] = 8
    min_scaled_distance: Annotated[
        float,
        Field(gt=0, le=1, description="smallest distance of two atoms in a frame over the sum of covalent radii"),
    ] = 0.6

    @property
    def needs_teacher(self) -> bool:
        return True

    @property
    def candidates_per_task(self) -> int:
        return self.frames * max(1, CANDIDATES_PER_TASK // self.frames)  # whole trajectories

    @abstractmethod
    def trajectory(
        self, parent: Structure, number: int, teacher: Teacher, rng: np.random.Generator
    ) -> Iterator[Structure | Refused]:
        """Yield frames of one trajectory from a parent, at least ``frames`` of them unless it raises TrajectoryError."""

    def propose(self, indices: Sequence[int], seed: int, parents: Sequence[Structure]) -> list[Structure | Refused]:
        order = self.order(parents, seed)
        if len(order) == 0:
            return [NO_PARENT] * len(indices)
        teacher = teacher_of(self)
        last: dict[int, int] = {}  # by trajectory: the frame up to which it must be made
        for index in indices:
            number, frame = divmod(index, self.frames)
            last[number] = max(last.get(number, 0), frame)
        with one_thread():
            made = {
                number: self._run(number, frame + 1, seed, parents[int(order[number % len(order)])], teacher)
                for number, frame in last.items()
            }
        return [made[index // self.frames][index % self.frames] for index in indices]

    def _run(self, number: int, count: int, seed: int, parent: Structure, teacher: Teacher) -> list[Structure | Refused]:
        """Return the first frames of a trajectory; refusals where it ended earlier."""
        refusal = self.refuse(parent, parent.id)
        if refusal is not None:
            return [refusal] * count
        made: list[Structure | Refused] = []
        rng = random_generator(seed, self.name, number)
        try:
            made.extend(islice(self.trajectory(parent, number, teacher, rng), count))
        except TrajectoryError as error:
            made += [Refused(error.reason, f"trajectory {number} from {parent.id}: {error}")] * (count - len(made))
        except Exception as error:  # noqa: BLE001 - a teacher may fail in any way; one trajectory must not stop a run
            detail = f"trajectory {number} from {parent.id}: {type(error).__name__}: {error}"
            made += [Refused("source_error", detail)] * (count - len(made))
        return made

    def too_close(self, structure: Structure) -> str:
        """Return why a frame is refused; empty where it is not."""
        scaled, pair = smallest_scaled_distance(structure)
        return (
            f"atoms {pair} at {scaled:.2f} of the sum of their covalent radii" if scaled < self.min_scaled_distance else ""
        )


def correlation(a: Array, b: Array) -> float:
    """Return the cosine of the angle between two sets of forces as vectors of 3n numbers; 0 where one of them vanishes."""
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.sum(a * b)) / lengths if lengths > 0 else 0.0
