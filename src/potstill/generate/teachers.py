"""The teacher of a source: opened before its first candidate, and on one thread while candidates are made."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from potstill.core.errors import InputError, PotstillError
from potstill.core.types import Teacher
from potstill.generate.source import SourceOptions
from potstill.teacher.opening import open_once
from potstill.teacher.options import TeacherOptions


def teacher_of(source: SourceOptions) -> Teacher:
    """Return the teacher of a source, opened once in a process.

    Raises
    ------
    InputError
        If the source has none, or it lacks what the user can give, or does not predict what the source needs.
    PotstillError
        If it cannot be opened for another reason.
    """
    options: TeacherOptions | None = getattr(source, "teacher", None)
    if options is None:
        raise InputError(f"the source '{source.name}' needs a teacher; set its option 'teacher'")
    try:
        teacher = open_once(options)
    except Exception as error:
        kind = InputError if isinstance(error, InputError) else PotstillError
        why = str(error) if isinstance(error, PotstillError) else f"{type(error).__name__}: {error}"
        raise kind(
            f"the teacher of the source '{source.name}' cannot be opened:\n  {why.replace('label.teacher.', 'teacher.')}"
        ) from error
    if lacking := source.needed_properties and source.needed_properties - teacher.properties:
        raise InputError(
            f"the source '{source.name}' needs {' and '.join(sorted(lacking))}, which its teacher "
            f"'{teacher.fingerprint['name']}' does not predict\n"
            "  name a teacher that does by its option 'teacher', or change the option that needs it, such as relax_cell"
        )
    return teacher


def check_teacher(source: SourceOptions) -> None:
    """Raise an error where the teacher of a source cannot be opened or lacks a property (a task of an executor)."""
    teacher_of(source)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread, as a worker does: sums over threads round otherwise, and a trajectory magnifies that."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 0
    if torch:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if torch:
            torch.set_num_threads(before)
