"""Use of the NVIDIA GPUs of this machine at one moment, as ``nvidia-smi`` states it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

FIELDS = ("index", "name", "utilization.gpu", "memory.used", "memory.total")
QUERY = ("nvidia-smi", f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits")
MEBIBYTE = 1024**2
SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class GpuUse:
    """Use of one GPU.

    Parameters
    ----------
    index, name
        Number of the GPU in this machine, and its model.
    busy
        Share of the last moment, less than a second, in which a kernel ran; None where the driver does not state it.
    used_bytes, total_bytes
        Memory in use by all processes, and memory of the GPU; None where the driver does not state it.
    """

    index: int
    name: str
    busy: float | None
    used_bytes: int | None
    total_bytes: int | None


def gpus_in_use() -> list[GpuUse]:
    """Return the use of each GPU; empty where there is no GPU or no driver."""
    try:
        done = subprocess.run(QUERY, capture_output=True, text=True, timeout=SECONDS, check=True)
        return [_gpu(line) for line in done.stdout.splitlines() if line.strip()]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []


def _gpu(line: str) -> GpuUse:
    index, rest = line.split(",", 1)
    name, busy, used, total = rest.rsplit(",", 3)
    percent, mebibytes = _number(busy), [_number(value) for value in (used, total)]
    memory = [None if value is None else int(value * MEBIBYTE) for value in mebibytes]
    return GpuUse(int(index), name.strip(), None if percent is None else percent / 100.0, *memory)


def _number(text: str) -> float | None:
    """Return a number, or None for ``[N/A]`` and other words of the driver."""
    try:
        return float(text)
    except ValueError:
        return None
