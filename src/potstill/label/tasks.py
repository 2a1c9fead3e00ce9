"""Labelling tasks: ranges of a file, each with the path of its part file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from potstill.core.files import h5_files
from potstill.core.types import Refused
from potstill.teacher.extras import Extra
from potstill.teacher.options import TeacherOptions

if TYPE_CHECKING:
    from potstill.label.options import LabelConfig

PART = re.compile(r"\d+-\d+")  # name of a part file without its ending: first structure, and the one behind the last
GOLDEN = 0.6180339887498949


@dataclass(frozen=True, slots=True)
class LabelTask:
    """Structures ``start … stop`` of a file, to be labelled and sealed at ``path``.

    ``refuse``, where it is set, refuses the structures without calling the teacher.
    """

    structures: Path
    start: int
    stop: int
    teacher: TeacherOptions
    max_force: float
    max_stress: float
    path: Path
    timeout_seconds: float | None = None
    extra: tuple[Extra, ...] = ()
    committee: tuple[TeacherOptions, ...] = ()
    refuse: Refused | None = None


def tasks_of(config: LabelConfig, structures: Path, folder: Path, *, total: int) -> list[LabelTask]:
    """Return the tasks of a file with ``total`` structures, in order, whether their parts exist or not.

    A range that an earlier run divided, because its teacher ended or hung, is divided again.
    """
    size = config.structures_per_task
    tasks: list[LabelTask] = []
    for start in range(0, total, size):
        stop = min(start + size, total)
        task = LabelTask(
            structures=structures,
            start=start,
            stop=stop,
            teacher=config.teacher,
            max_force=config.max_force_ev_per_angstrom,
            max_stress=config.max_stress_ev_per_cubic_angstrom,
            path=_part(folder, start, stop),
            timeout_seconds=config.timeout_seconds_per_structure,
            extra=config.extra,
            committee=config.committee,
        )
        alone = one_by_one(task)
        divided = not task.path.exists() and any(single.path.exists() for single in alone)
        tasks += alone if divided else [task]
    return tasks


def one_by_one(task: LabelTask) -> list[LabelTask]:
    """Return the same structures, each as a task of its own."""
    return [replace(task, start=k, stop=k + 1, path=_part(task.path.parent, k, k + 1)) for k in range(task.start, task.stop)]


def spread(tasks: Sequence[LabelTask]) -> list[LabelTask]:
    """Return the tasks in an order in which every source soon has its share of the tasks done.

    Sorts by the fractional parts of multiples of the golden ratio: each next one falls into the largest gap so far.
    """
    return [tasks[k] for k in sorted(range(len(tasks)), key=lambda k: k * GOLDEN % 1)]


def parts_in(folder: Path) -> list[Path]:
    """Return the labelled parts of a folder; copies under other names, as of a cloud drive, are none."""
    return [path for path in h5_files(folder) if PART.fullmatch(path.stem)]


def range_of(part: Path) -> range:
    """Return the range of structures that a part holds, by its name."""
    start, stop = part.stem.split("-")
    return range(int(start), int(stop))


def _part(folder: Path, start: int, stop: int) -> Path:
    return folder / f"{start:08d}-{stop:08d}.h5"
