"""Threads of PyTorch and of the C++ kernels: their number, also in a forked process.

Both use OpenMP. Its threads do not exist in a forked child, which would wait for them without end. A child therefore uses
one thread.
"""

from __future__ import annotations

import os
from functools import cache

import torch

_forked = False


def threads() -> int:
    """Return the number of threads that may compute in this process."""
    return 1 if _forked else torch.get_num_threads()


@cache
def survive_fork() -> None:
    """Make children that are later forked from this process use one thread."""
    os.register_at_fork(after_in_child=_in_child)


def _in_child() -> None:
    global _forked  # noqa: PLW0603 - a fact about the process
    _forked = True
    torch.set_num_threads(1)
