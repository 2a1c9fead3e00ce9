"""Keep freed memory in the process: PyTorch on a CPU allocates and frees the same large blocks at every step."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
KEEP = 2**31 - 1
TOP_PAD_BYTES = 64 * 2**20


def keep_freed_memory() -> None:
    """Tell glibc's malloc not to return large blocks to the system; do nothing elsewhere."""
    if not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        for option, value in ((M_MMAP_THRESHOLD, KEEP), (M_TRIM_THRESHOLD, KEEP), (M_TOP_PAD, TOP_PAD_BYTES)):
            library.mallopt(option, value)
