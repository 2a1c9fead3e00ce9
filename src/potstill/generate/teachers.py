"""The teacher of a process that makes candidates: loaded once, and asked on one thread."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from potstill.core.types import Teacher
from potstill.teacher.opening import open_once
from potstill.teacher.options import TeacherOptions


def loaded(options: TeacherOptions) -> Teacher:
    """Return the teacher of this process, loaded once."""
    return open_once(options)


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
