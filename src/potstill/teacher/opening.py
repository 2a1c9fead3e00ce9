"""The one way to open a teacher: in this process, or supervised in a process of its own.

A teacher of another environment always has its own process. A supervised teacher has one too. If such a teacher ends its
process, hangs or changes the current folder, the caller continues and receives a refusal with the reason.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import TYPE_CHECKING

from potstill.core.precision import own_defaults
from potstill.core.types import Teacher

if TYPE_CHECKING:
    from potstill.teacher.options import TeacherOptions


def open_teacher(
    options: TeacherOptions, *, supervised: bool = False, timeout_seconds_per_structure: float | None = None
) -> Teacher:
    """Open a teacher, ready to label.

    Parameters
    ----------
    options
        Options of the teacher.
    supervised
        Whether it runs in a process of its own, for callers that must survive its end. Supervised workers need no second
        process.
    timeout_seconds_per_structure
        Time limit in s for each structure of a teacher in another process; no limit where None.

    Raises
    ------
    MissingExtraError
        If its package is not installed.
    InputError
        If its environment or its weights are missing.
    PotstillError
        If its process ends while it loads.
    """
    from potstill.teacher.isolated import IsolatedTeacher

    python = options.interpreter()
    if python is None and not supervised:
        if "torch" not in sys.modules:  # whose modes no caller can then have set
            return options.load()
        with own_defaults():
            return options.load()
    return IsolatedTeacher(options, python, timeout_seconds_per_structure=timeout_seconds_per_structure)


def open_once(options: TeacherOptions) -> Teacher:
    """Return the teacher of this process with these options, opened on the first call; see :func:`open_teacher`."""
    return _opened(type(options), options.model_dump_json())  # as text: options may hold dictionaries, which have no hash


@lru_cache(maxsize=8)  # a teacher and its committee
def _opened(kind: type[TeacherOptions], options: str) -> Teacher:
    return open_teacher(kind.model_validate_json(options))
