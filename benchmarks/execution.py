"""What it costs to label through Parsl instead of local workers: the same tasks, teacher and number of workers.

    python benchmarks/execution.py [--structures 4000] [--per-task 32] [--workers 2] [--teacher emt] [--repeats 3]

Rattled copper crystals are labelled by both backends in turn, into fresh folders. ``seconds`` is the whole call, with the
start of the workers and of Parsl; ``steady_seconds`` runs from the first finished task to the last, and counts the tasks
between. The overhead of a long run is that of the steady part, plus the start once. Results in ``results/execution.json``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from ase.build import bulk
from common import write_results

from potstill.config import LabelConfig, parse_teacher
from potstill.dataset import merge, write_part
from potstill.execute.options import ExecuteOptions, Local, Parsl
from potstill.label.stage import LabelCount, label
from potstill.types import Structure


def structures(count: int, folder: Path) -> Path:
    """A file of rattled copper crystals of 32 atoms."""
    rng = np.random.default_rng(1)
    perfect = bulk("Cu", cubic=True) * (2, 2, 2)
    made = []
    for k in range(count):
        atoms = perfect.copy()
        atoms.positions += rng.normal(0, 0.05, size=atoms.positions.shape)
        made.append(Structure.from_ase(atoms).with_(id=f"cu-{k:06d}", source="copper", family=f"cu-{k:06d}"))
    write_part(folder / "part.h5", made, [])
    merge([folder / "part.h5"], folder / "structures.h5", attributes={})
    return folder / "structures.h5"


def once(execute: ExecuteOptions, config: LabelConfig, file: Path, folder: Path, workers: int) -> tuple[float, float, int]:
    """Seconds of the call, seconds from the first to the last finished task, and tasks between these."""
    moments: list[float] = []

    def note(_count: LabelCount) -> None:
        moments.append(time.perf_counter())

    backend = execute.start(folder / "execute", workers)
    started = time.perf_counter()
    try:
        label(config, file, folder / "label", backend=backend, on_progress=note)
    finally:
        backend.close()
    return time.perf_counter() - started, moments[-1] - moments[0], len(moments) - 1


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--structures", type=int, default=4000)
    parser.add_argument("--per-task", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--teacher", default="emt")
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    config = LabelConfig(teacher=parse_teacher({"name": asked.teacher}), structures_per_task=asked.per_task)
    backends: dict[str, ExecuteOptions] = {"local": Local(), "parsl": Parsl(workers_per_node=asked.workers)}
    found: dict[str, list[tuple[float, float, int]]] = {name: [] for name in backends}
    with tempfile.TemporaryDirectory() as temporary:
        file = structures(asked.structures, Path(temporary))
        for repeat in range(asked.repeats):
            for name, execute in backends.items():
                folder = Path(temporary) / f"{name}-{repeat}"
                folder.mkdir()
                found[name].append(once(execute, config, file, folder, asked.workers))
    rows: list[dict[str, Any]] = []
    for name, measured in found.items():
        seconds, steady = median(m[0] for m in measured), median(m[1] for m in measured)
        rows.append(
            {
                "backend": name,
                "teacher": asked.teacher,
                "structures": asked.structures,
                "structures_per_task": asked.per_task,
                "workers": asked.workers,
                "repeats": asked.repeats,
                "seconds": seconds,
                "steady_seconds": steady,
                "steady_milliseconds_per_task": 1e3 * steady / measured[0][2],
            }
        )
    local = rows[0]
    for row in rows:
        row["overhead_percent"] = 100 * (row["seconds"] / local["seconds"] - 1)
        row["steady_overhead_percent"] = 100 * (row["steady_seconds"] / local["steady_seconds"] - 1)
        print(
            f"{row['backend']:6} {row['seconds']:8.1f} s, steady {row['steady_milliseconds_per_task']:7.1f} ms per task, "
            f"overhead {row['overhead_percent']:+.1f} % ({row['steady_overhead_percent']:+.1f} % steady)"
        )
    print(write_results("execution", rows))


if __name__ == "__main__":
    main()
