"""Time and memory per atom as a crystal grows, and the largest one that fits into 4 GB.

    python -m benchmarks.student.student_scaling [--models NAME ...] [--kind Si] [--sizes 64 512 ...] [--limit-gb 4]

Time is measured as in ``student_speed.py``: neighbour list inside, the sizes in turn within one process. Memory is the peak
resident memory of a process of its own per size (Linux counts it): interpreter, libraries and weights are its base, what
comes on top is divided by the number of atoms. The largest system is predicted from the two largest sizes, then run; where
it does not fit, the next smaller cube is run, and so on. 1 GB is 10^9 bytes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.lib.common import write_results
from benchmarks.lib.peers import Model
from benchmarks.lib.students import MODELS
from benchmarks.lib.systems import CUBIC_CELLS, supercell
from benchmarks.lib.timing import KEEP_FREED_MEMORY, Runner, evaluations, figures, one_thread_count, restart_with
from rich.console import Console
from rich.table import Table

SIZES = (64, 216, 512, 1728, 4096, 8000, 17576, 32768)  # 8 k^3
CALLS_FOR_MEMORY = 3
ATOMS_FOR_BASE = 8  # a first call, whose memory belongs to the base
ATTEMPTS = 8  # to find the largest system


def time_rows(model: Model, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Seconds of a call and microseconds per atom for each size."""
    runners = {n: Runner(evaluations(model, [supercell(options.kind, n)])) for n in options.sizes}
    for _ in range(options.rounds):
        for runner in runners.values():
            runner.turn(options.turn_seconds)
    rows = []
    for n, runner in runners.items():
        row = figures(runner.times)
        rows.append({"what": "time", "atoms": n, **row, "microseconds_per_atom": 1e6 * row["seconds"] / n})
    return rows


def memory_rows(name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Peak memory for each size, and the largest system below the limit."""
    rows = [{"what": "memory", **_measure_in_a_process(name, n, options)} for n in options.sizes]
    measured = [(row["atoms"], row["peak_bytes"]) for row in rows if "peak_bytes" in row]
    if len(measured) < 2:
        return rows
    (n1, peak1), (n2, peak2) = measured[-2:]
    slope = (peak2 - peak1) / (n2 - n1)
    predicted = n2 + (1e9 * options.limit_gb - peak2) / slope
    repeats = int((predicted / 8) ** (1 / 3))
    for _ in range(min(ATTEMPTS, repeats)):
        found = _measure_in_a_process(name, 8 * repeats**3, options)
        if found.get("peak_bytes", np.inf) <= 1e9 * options.limit_gb:
            return [*rows, {"what": "largest", **found, "limit_gb": options.limit_gb, "predicted_atoms": int(predicted)}]
        repeats -= 1
    return [*rows, {"what": "largest", "atoms": None, "limit_gb": options.limit_gb, "predicted_atoms": int(predicted)}]


def _measure_in_a_process(name: str, n_atoms: int, options: argparse.Namespace) -> dict[str, Any]:
    """Base and peak memory of one size; without a peak where the process did not end well."""
    command = [
        sys.executable,
        "-m",
        __spec__.name,
        "--models",
        name,
        "--kind",
        options.kind,
        "--threads",
        str(options.threads),
    ]
    command += ["--sizes", str(n_atoms), "--memory-only", *(["--keep-freed-memory"] if options.keep_freed_memory else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"atoms": n_atoms, "failed": (done.stderr.strip().split("\n") or [""])[-1][:200]}
    found = json.loads(done.stdout)
    return {"atoms": n_atoms, **found, "bytes_per_atom": (found["peak_bytes"] - found["base_bytes"]) / n_atoms}


def memory_of_this_process(model: Model, kind: str, n_atoms: int) -> dict[str, int]:
    """Peak resident bytes before and after calls on a supercell."""
    evaluations(model, [supercell(kind, ATOMS_FOR_BASE)])()
    base = _peak_bytes()
    call = evaluations(model, [supercell(kind, n_atoms)])
    for _ in range(CALLS_FOR_MEMORY):
        call()
    return {"base_bytes": base, "peak_bytes": _peak_bytes()}


def _peak_bytes() -> int:
    """High-water mark of resident memory; getrusage would include that of the parent process."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError("/proc/self/status has no VmHWM: memory can be measured on Linux only")


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """Sizes down; then how flat the time is, and the largest system."""
    console = Console()
    for model in dict.fromkeys(row["model"] for row in rows):
        mine = [row for row in rows if row["model"] == model]
        memory = {row["atoms"]: row for row in mine if row["what"] == "memory"}
        times = [row for row in mine if row["what"] == "time"]
        table = Table("atoms", "time", "µs/atom", "peak memory", "kB/atom", title=model)
        for row in times:
            used = memory.get(row["atoms"], {})
            table.add_row(
                f"{row['atoms']:,}",
                f"{1e3 * row['seconds']:.1f} ms",
                f"{row['microseconds_per_atom']:.1f}",
                f"{used['peak_bytes'] / 1e9:.2f} GB" if "peak_bytes" in used else "–",
                f"{used['bytes_per_atom'] / 1e3:.1f}" if "bytes_per_atom" in used else "–",
            )
        console.print(table)
        per_atom = [row["microseconds_per_atom"] for row in times]
        if per_atom:
            console.print(f"time per atom: largest / smallest = {max(per_atom) / min(per_atom):.2f}")
        for row in mine:
            if row["what"] == "largest" and row["atoms"]:
                console.print(
                    f"largest below {row['limit_gb']:g} GB: {row['atoms']:,} atoms ({row['peak_bytes'] / 1e9:.2f} GB)"
                )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--name", default="student_scaling", help="name of the result file")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["student base"], metavar="NAME")
    parser.add_argument("--kind", choices=CUBIC_CELLS, default="Si")
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES, help="atoms: 8 times a cube")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--turn-seconds", type=float, default=0.5)
    parser.add_argument("--limit-gb", type=float, default=4.0)
    parser.add_argument("--keep-freed-memory", action="store_true", help="glibc returns no memory to the system")
    parser.add_argument("--memory-only", action="store_true", help="measure one size in this process and print JSON")
    return parser.parse_args()


def main() -> None:
    """Measure, write after every model, print."""
    options = _options()
    restart_with({**one_thread_count(options.threads), **(KEEP_FREED_MEMORY if options.keep_freed_memory else {})})
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    if options.memory_only:
        with redirect_stdout(sys.stderr):
            found = memory_of_this_process(MODELS[options.models[0]](), options.kind, options.sizes[0])
        print(json.dumps(found))
        return
    rows: list[dict[str, Any]] = []
    for name in options.models:
        with redirect_stdout(sys.stderr):
            model = MODELS[name]()
            about = {"model": name, "package": model.package, "parameters": model.parameters, "weights": model.weights}
            about |= {"kind": options.kind, "threads": options.threads, "keeps_freed_memory": options.keep_freed_memory}
            rows += [{**about, **row} for row in [*time_rows(model, options), *memory_rows(name, options)]]
        path = write_results(options.name, rows)
    print_table(rows)
    print(path)


if __name__ == "__main__":
    main()
