"""The output of a teacher, in a log instead of the terminal; a changed umask ends with it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def output_in(path: Path) -> Iterator[None]:
    """Append to a file the output of this process, standard output and error, from Python or from C.

    The umask of before is restored afterwards: the calculator of a user may change it, and labels must stay readable.
    """
    umask = os.umask(0)
    os.umask(umask)
    path.parent.mkdir(parents=True, exist_ok=True)
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    _flush()
    before = [os.dup(number) for number in (1, 2)]
    try:
        for number in (1, 2):
            os.dup2(target, number)
        yield
    finally:
        os.umask(umask)
        _flush()
        for number, descriptor in zip((1, 2), before, strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.close(target)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()
