"""Files that are whole or not there: written under a temporary name, synced to disk, renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def sealed(path: Path) -> Iterator[Path]:
    """Give a temporary name to write under; on success sync it to disk and rename it to ``path``, else remove it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def shown(path: Path | str) -> str:
    """Return a path as text that any file and terminal takes: bytes that are no UTF-8 are replaced."""
    return os.fsencode(path).decode("utf-8", errors="replace")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
