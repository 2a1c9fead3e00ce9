"""What it costs to label through Parsl instead of local workers: the same tasks, teacher and number of workers.

    python -m benchmarks.data.execution [--workers 2] [--repeats 3] [--quick]

Rattled copper crystals of 32 atoms are labelled by both executors in turn, into fresh folders: by SevenNet-0 in tasks of 8,
and by EMT in tasks of 32, which is nearly nothing but the passing of tasks. ``seconds`` is the whole call, with the start of
the workers and of Parsl; ``steady_seconds`` runs from the first task that each worker has finished to the last task, and
counts the tasks between. The overhead of a long run is that of the steady part, plus the start once. Last, the tasks in a
second that a driver can pass to workers that have nothing to do. Results in ``results/execution.json``.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from ase.build import bulk
from benchmarks.lib.common import write_results

from potstill.core.types import Structure
from potstill.dataset import merge, write_part
from potstill.execute.options import ExecuteOptions, Local, Parsl
from potstill.label.options import LabelConfig
from potstill.label.stage import LabelCount, label
from potstill.teacher.choices import parse_teacher

CASES = (("sevennet", 256, 8), ("emt", 3200, 32))  # teacher, structures, structures in a task
EMPTY_TASKS = 2000


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
    """Seconds of the call, seconds of the steady part, and tasks in it."""
    moments: list[float] = []

    def note(_count: LabelCount) -> None:
        moments.append(time.perf_counter())

    executor = execute.start(folder / "execute", workers)
    started = time.perf_counter()
    try:
        label(config, file, folder / "label", executor=executor, on_progress=note)
    finally:
        executor.close()
    return time.perf_counter() - started, moments[-1] - moments[workers - 1], len(moments) - workers


def passed_per_second(execute: ExecuteOptions, folder: Path, workers: int, tasks: int) -> float:
    """Empty tasks in a second, after the workers have started."""
    moments: list[float] = []
    executor = execute.start(folder / "execute", workers)
    run: Callable[..., None] = executor.run
    try:
        run(math.sqrt, [float(k) for k in range(tasks)], on_done=lambda _t, _r: moments.append(time.perf_counter()))
    finally:
        executor.close()
    return (tasks - workers) / (moments[-1] - moments[workers - 1])


def compare(
    case: tuple[str, int, int], executors: dict[str, ExecuteOptions], workers: int, repeats: int
) -> list[dict[str, Any]]:
    """A row for each executor: medians over repeats, in turn."""
    teacher, count, per_task = case
    config = LabelConfig(teacher=parse_teacher({"name": teacher}), structures_per_task=per_task)
    found: dict[str, list[tuple[float, float, int]]] = {name: [] for name in executors}
    with tempfile.TemporaryDirectory() as temporary:
        file = structures(count, Path(temporary))
        for repeat in range(repeats):
            for name, execute in executors.items():
                folder = Path(temporary) / f"{name}-{repeat}"
                folder.mkdir()
                found[name].append(once(execute, config, file, folder, workers))
    rows: list[dict[str, Any]] = []
    for name, measured in found.items():
        seconds, steady = median(m[0] for m in measured), median(m[1] for m in measured)
        rows.append(
            {
                "executor": name,
                "teacher": teacher,
                "structures": count,
                "structures_per_task": per_task,
                "workers": workers,
                "repeats": repeats,
                "seconds": seconds,
                "steady_seconds": steady,
                "steady_milliseconds_per_task": 1e3 * steady / measured[0][2],
            }
        )
    for row in rows:
        row["overhead_percent"] = 100 * (row["seconds"] / rows[0]["seconds"] - 1)
        row["steady_overhead_percent"] = 100 * (row["steady_seconds"] / rows[0]["steady_seconds"] - 1)
        print(
            f"{teacher:9} {row['executor']:6} {row['seconds']:7.1f} s, steady "
            f"{row['steady_milliseconds_per_task']:7.1f} ms a task, "
            f"overhead {row['overhead_percent']:+.1f} % ({row['steady_overhead_percent']:+.1f} % steady)",
            flush=True,
        )
    return rows


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a tenth of the structures, once; prints only")
    asked = parser.parse_args()
    executors: dict[str, ExecuteOptions] = {"local": Local(), "parsl": Parsl(workers_per_node=asked.workers)}
    rows: list[dict[str, Any]] = []
    for teacher, count, per_task in CASES:
        case = (teacher, max(4 * per_task, count // 10) if asked.quick else count, per_task)
        rows += compare(case, executors, asked.workers, 1 if asked.quick else asked.repeats)
    for name, execute in executors.items():
        with tempfile.TemporaryDirectory() as temporary:
            tasks = EMPTY_TASKS // 10 if asked.quick else EMPTY_TASKS
            rate = passed_per_second(execute, Path(temporary), asked.workers, tasks)
        rows.append(
            {"executor": name, "what": "empty tasks", "tasks": tasks, "workers": asked.workers, "tasks_per_second": rate}
        )
        print(f"empty     {name:6} {rate:7.0f} tasks a second", flush=True)
    if not asked.quick:
        print(write_results("execution", rows))


if __name__ == "__main__":
    main()
