"""CPU time of an MD step by one thread, and by two that wait by spinning or by sleeping.

    python -m benchmarks.student.waiting_threads [--tier small] [--steps 40] [--repeats 3] [--threads 2]

OpenMP reads how to wait when its library is loaded, so each row is a process of its own. The rows take turns in each repeat.
A random student costs what a trained one does. ``chosen_by`` tells whether the environment named the policy or
``import potstill`` did; ``spinning`` is what GNU's library does where nobody chose.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from statistics import median
from time import perf_counter, process_time
from typing import Any

from ase.build import bulk
from benchmarks.lib.common import write_results

from potstill.testing import random_student

CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
SPINS = "300000"  # of GNU's library where nothing is set
CELLS = (4, 4, 2)  # of eight silicon atoms


def main() -> None:
    """Run each case in turn, then print and store medians."""
    options = _options()
    if options.measure:
        print(json.dumps(_measured(options.tier, options.steps)))
        return
    cases: dict[tuple[int, str, str], dict[str, str]] = {
        (1, "none", "nobody"): {},
        (options.threads, "spinning", "environment"): {"GOMP_SPINCOUNT": SPINS},
        (options.threads, "sleeping", "environment"): {"OMP_WAIT_POLICY": "PASSIVE"},
        (options.threads, "sleeping", "import potstill"): {},
    }
    taken: dict[tuple[int, str, str], list[dict[str, Any]]] = {case: [] for case in cases}
    for _ in range(options.repeats):
        for case, chosen in cases.items():
            taken[case].append(_in_a_process(case[0], chosen))
            print(case, taken[case][-1], flush=True)
    rows = [_row(case, found) for case, found in taken.items()]
    print(write_results("waiting_threads", [{"tier": options.tier, "steps": options.steps, **row} for row in rows]))


def _in_a_process(threads: int, chosen: dict[str, str]) -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if name not in CHOICES}
    environment |= {"OMP_NUM_THREADS": str(threads), **chosen}
    command = [sys.executable, "-m", "benchmarks.student.waiting_threads", "--measure", *sys.argv[1:]]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _measured(tier: str, steps: int) -> dict[str, Any]:
    import numpy as np
    from ase import units
    from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
    from ase.md.verlet import VelocityVerlet
    from benchmarks.lib.timing import START_KELVIN, Springs

    atoms = bulk("Si", cubic=True) * CELLS
    atoms.calc = Springs(random_student([14], tier=tier).calculator(), atoms.positions)
    MaxwellBoltzmannDistribution(atoms, temperature_K=START_KELVIN, rng=np.random.default_rng(0))
    dynamics = VelocityVerlet(atoms, timestep=units.fs)
    dynamics.run(10)
    wall, cpu = perf_counter(), process_time()
    dynamics.run(steps)
    return {"atoms": len(atoms), "cpu_s": (process_time() - cpu) / steps, "wall_s": (perf_counter() - wall) / steps}


def _row(case: tuple[int, str, str], found: list[dict[str, Any]]) -> dict[str, Any]:
    row = {"threads": case[0], "waiting": case[1], "chosen_by": case[2], "atoms": found[0]["atoms"]}
    for name in ("cpu_s", "wall_s"):
        row |= {f"{name}_per_step": median(x[name] for x in found), f"{name}_each": [x[name] for x in found]}
    return row


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--tier", default="small", help="of a student with random weights")
    parser.add_argument("--steps", type=int, default=40, help="MD steps that are timed in a process")
    parser.add_argument("--repeats", type=int, default=3, help="processes of each case")
    parser.add_argument("--threads", type=int, default=2, help="threads of the cases that wait")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
