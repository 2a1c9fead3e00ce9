"""Use of the NVIDIA GPUs of this machine at one moment, as ``nvidia-smi`` states it."""

from __future__ import annotations

import math
import subprocess
import tempfile
from dataclasses import dataclass

FIELDS = ("index", "name", "utilization.gpu", "memory.used", "memory.total")
QUERY = ("nvidia-smi", f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits")
MEBIBYTE = 1024**2
SECONDS = 10.0
_hanging: list[subprocess.Popen[bytes]] = []  # killed, and not seen to end


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
    """Return the use of each GPU; empty where there is no GPU or no driver, or where the driver does not answer."""
    rows = (_gpu(line) for line in _answer().splitlines())
    return [row for row in rows if row is not None]


def _answer() -> str:
    """Return the output of the driver's program; empty where it fails or takes too long.

    A program that waits for a broken driver cannot be killed, so nothing waits for its end, and no second one is started.
    """
    if any(process.poll() is None for process in _hanging):
        return ""
    try:
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(QUERY, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.DEVNULL)
            try:
                code = process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                _hanging.append(process)
                return ""
            output.seek(0)
            return output.read().decode(errors="replace") if code == 0 else ""
    except OSError:
        return ""


def _gpu(line: str) -> GpuUse | None:
    """Return the GPU of a line, or None for a line that is none."""
    index, _, rest = line.partition(",")
    words = rest.rsplit(",", 3)
    if len(words) < 4 or not index.strip().isdecimal():
        return None
    name, busy, used, total = words
    percent, mebibytes = _number(busy), [_number(value) for value in (used, total)]
    memory = [None if value is None else int(value * MEBIBYTE) for value in mebibytes]
    return GpuUse(int(index), name.strip(), None if percent is None else percent / 100.0, *memory)


def _number(text: str) -> float | None:
    """Return a number, or None for ``[N/A]`` and other words of the driver."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
