"""The library of the fused kernel: ``fused.cpp``, compiled on the user's machine."""

from __future__ import annotations

import ctypes
import logging
from functools import cache
from pathlib import Path

from potstill.core.cpp import compiled, demand

SOURCE = Path(__file__).with_name("fused.cpp")
HEADERS = Path(__file__).with_name("kernel")
SYMBOLS = ("student_lanes", "student_memory", "student_energy_gradient", "student_weight_gradient")

log = logging.getLogger(__name__)


def load_library() -> ctypes.CDLL:
    """Return the compiled kernel, from the cache or compiled now.

    Raises
    ------
    LibraryError
        If there is no compiler, or the compilation fails.
    """
    return demand(loaded_library())


def warn_once(reason: str) -> None:
    """Warn in the log ``potstill`` that a student runs in PyTorch, once per reason and process."""
    if reason not in _warned:
        _warned.add(reason)
        log.warning("the student runs in PyTorch, several times slower than with the fused kernel: %s", reason)


_warned: set[str] = set()


@cache
def loaded_library() -> ctypes.CDLL | str:
    """Return the compiled kernel, or why there is none; a failure is not tried again in the same process."""
    return compiled(SOURCE, sorted(HEADERS.glob("*.h")), SYMBOLS)
