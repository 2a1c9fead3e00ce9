"""Memory of a process that asks a student again and again: it must be flat.

    python -m benchmarks.student.memory_growth [--calls 1000000] [--tier nano] [--student FOLDER]

Single points of one small molecule through the ASE calculator, its atoms at other places in every call, now and then far
enough for a new neighbour list. Resident memory is noted along the way; the result file is written after every note, so
that a stopped run says how far it came. A random student costs and allocates what a trained one does.
"""

from __future__ import annotations

import argparse
import gc
from time import perf_counter
from typing import Any

import numpy as np
import psutil
import torch
from ase.build import molecule
from benchmarks.lib.common import write_results

from potstill.deploy import load_student
from potstill.testing import random_student

NOTES, WARM_UP, SIGMA_ANGSTROM = 50, 1000, 0.2


def main() -> None:
    """Ask, note, print."""
    options = _options()
    torch.set_num_threads(1)
    atoms = molecule("CH3OH")
    student = load_student(options.student) if options.student else random_student([1, 6, 8], tier=options.tier)
    atoms.calc = student.calculator()
    start, rng, process = atoms.get_positions(), np.random.default_rng(0), psutil.Process()
    rows: list[dict[str, Any]] = []
    started = perf_counter()
    for call in range(options.calls + 1):
        if call == WARM_UP or (call > WARM_UP and call % max(1, options.calls // NOTES) == 0):
            gc.collect()
            rows.append({"calls": call, "resident_bytes": process.memory_info().rss, "seconds": perf_counter() - started})
            write_results(options.name, rows)
        atoms.set_positions(start + rng.normal(0.0, SIGMA_ANGSTROM, start.shape))
        atoms.get_forces()
    grown = rows[-1]["resident_bytes"] - rows[0]["resident_bytes"]
    calls = rows[-1]["calls"] - rows[0]["calls"]
    print(f"{calls:,} calls after {WARM_UP:,}: {grown / 1e6:+.2f} MB, {1e3 * grown / calls:.3f} bytes per thousand calls")
    print(write_results(options.name, rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--name", default="memory_growth", help="name of the result file")
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--tier", default="nano", help="of a student with random weights")
    parser.add_argument("--student", default="", help="folder of a trained one instead")
    return parser.parse_args()


if __name__ == "__main__":
    main()
