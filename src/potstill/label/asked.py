"""Request of a labelled part: one checksum of its structures, the teachers and the limits.

The checksum identifies a part of another run, another teacher or other structures, even if ids and file names agree.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from potstill.core.checksums import sha256_of_json, with_contents
from potstill.core.files import name_aside
from potstill.dataset import Dataset
from potstill.label.tasks import LabelTask
from potstill.teacher.options import TeacherOptions

log = logging.getLogger(__name__)
ATOM_COLUMNS = ("atoms/atomic_numbers", "atoms/positions")
STRUCTURE_COLUMNS = ("structures/cell", "structures/pbc")


def asked_of(task: LabelTask, structures: Dataset) -> str:
    """Return the checksum of a task's request; time limits and the order of tasks do not matter."""
    digest = hashlib.sha256()
    ptr = np.asarray(structures.ptr[task.start : task.stop + 1])
    digest.update((ptr - ptr[0]).tobytes())
    for name in ATOM_COLUMNS:
        digest.update(np.ascontiguousarray(structures.column(name)[ptr[0] : ptr[-1]]).tobytes())
    for name in STRUCTURE_COLUMNS:
        digest.update(np.ascontiguousarray(structures.column(name)[task.start : task.stop]).tobytes())
    digest.update("\0".join(structures.ids[task.start : task.stop].tolist()).encode())
    teachers = [_with_contents(teacher) for teacher in (task.teacher, *task.committee)]
    return sha256_of_json([digest.hexdigest(), teachers, task.max_force, task.max_stress, list(task.extra)])


def _with_contents(teacher: TeacherOptions) -> dict[str, Any]:
    """Return the options of a teacher with contents in place of files, and of the folders that free options name."""
    tables = {name for name, value in teacher if isinstance(value, Mapping)}
    given = teacher.model_dump(mode="json")
    return {name: with_contents(value, folders=name in tables) for name, value in given.items()}


def set_aside_others(tasks: Sequence[LabelTask], structures: Dataset) -> None:
    """Rename parts that are damaged or belong to another request; they are labelled again, and none is deleted."""
    for task in tasks:
        if not task.path.exists():
            continue
        stated = _stated(task.path)
        if stated is None or stated not in ("", asked_of(task, structures)):
            target = name_aside(task.path)
            task.path.rename(target)
            why = "is damaged" if stated is None else "was labelled for other structures or by another teacher"
            log.warning("%s %s: it is kept as %s, and labelled again", task.path, why, target.name)


def _stated(part: Path) -> str | None:
    """Return the checksum that a part states, empty where an earlier version made it, None where it is damaged."""
    try:
        with h5py.File(part, "r") as file:
            return str(file.attrs.get("asked", ""))
    except OSError:
        return None
