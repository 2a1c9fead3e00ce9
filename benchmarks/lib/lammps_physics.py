"""What a barostat and a minimizer of LAMMPS find with a student, beside those of ASE.

The student is the small one of copper that the tests keep: it has a minimum, and a step takes a millisecond.
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.filters import UnitCellFilter
from ase.md.nose_hoover_chain import IsotropicMTKNPT
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.optimize import BFGS
from benchmarks.lib.lammps_runs import KELVIN, lmp, script, thermo_rows

from potstill.deploy import load_student
from potstill.deploy.lammps_setup import Lammps

COPPER = Path(__file__).parents[2] / "tests" / "deploy" / "copper_student"
CRYSTAL = bulk("Cu", cubic=True) * (3, 3, 3)
NPT_STEP_FS, TEMPERATURE_DAMPING_FS, PRESSURE_DAMPING_FS, EVERY = 2.0, 100.0, 500.0, 10


def settled(volumes: list[float]) -> float:
    """Mean without the first fifth."""
    return float(np.mean(volumes[len(volumes) // 5 :]))


def npt_in_ase(atoms: Atoms, steps: int, seed: int) -> list[float]:
    """Volumes every tenth step."""
    atoms = atoms.copy()
    atoms.calc = load_student(COPPER).calculator()
    MaxwellBoltzmannDistribution(atoms, temperature_K=KELVIN, rng=np.random.default_rng(seed))
    dynamics = IsotropicMTKNPT(
        atoms,
        NPT_STEP_FS * units.fs,
        temperature_K=KELVIN,
        pressure_au=0.0,
        tdamp=TEMPERATURE_DAMPING_FS * units.fs,
        pdamp=PRESSURE_DAMPING_FS * units.fs,
    )
    volumes: list[float] = []
    dynamics.attach(lambda: volumes.append(atoms.get_volume()), interval=EVERY)
    dynamics.run(steps)
    return volumes


def npt_in_lammps(build: Lammps, atoms: Atoms, steps: int, seed: int) -> list[float]:
    """Volumes every tenth step."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "student").symlink_to(COPPER)
        damping = f"{1e-3 * TEMPERATURE_DAMPING_FS}", f"iso 0.0 0.0 {1e-3 * PRESSURE_DAMPING_FS}"
        rest = f"unfix move\nvelocity all create {KELVIN} {seed} mom yes rot no dist gaussian\n"
        rest += f"timestep {1e-3 * NPT_STEP_FS}\nfix move all npt temp {KELVIN} {KELVIN} {' '.join(damping)}\n"
        rest += f"thermo {EVERY}\nthermo_style custom step vol\nrun {steps}"
        return [row[1] for row in thermo_rows(lmp(build, folder, script(build, folder, atoms, "single", rest)))]


def mean_volume(build: Lammps | None, steps: int, seed: int) -> float:
    """Mean volume in one run of a LAMMPS, or of ASE where it is None."""
    return settled(npt_in_lammps(build, CRYSTAL, steps, seed) if build else npt_in_ase(CRYSTAL, steps, seed))


def npt(builds: list[Lammps], steps: int, runs: int, processes: int) -> list[dict[str, Any]]:
    """Mean volume of a copper crystal without pressure, over several runs each; the error is that of the mean over runs."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        jobs = {
            build.name if build else "ase": [pool.submit(mean_volume, build, steps, seed) for seed in range(1, runs + 1)]
            for build in (None, *builds)
        }
        found = {name: [job.result() for job in each] for name, each in jobs.items()}
    rows, atoms = [], CRYSTAL
    ase, ase_error = np.mean(found["ase"]), np.std(found["ase"], ddof=1) / np.sqrt(runs)
    for name, volumes in found.items():
        error = float(np.std(volumes, ddof=1) / np.sqrt(runs))
        row = {"part": "npt", "lammps": name, "ranks": 1, "system": "Cu108", "atoms": len(atoms), "kelvin": KELVIN}
        row |= {"runs": runs, "picoseconds": 1e-3 * NPT_STEP_FS * steps, "angstrom3_per_atom": np.mean(volumes) / len(atoms)}
        row |= {"standard_error": error / len(atoms), "volumes": volumes}
        if name != "ase":
            row["difference_in_standard_errors"] = float(abs(np.mean(volumes) - ase) / np.hypot(error, ase_error))
        rows.append(row)
    return rows


def relax(builds: list[Lammps]) -> list[dict[str, Any]]:
    """Length of a stretched slab after ``box/relax`` on open boundaries, and that of ASE in a periodic box with vacuum."""
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    atoms.set_cell(atoms.cell * np.array([[1.02], [1.02], [1.0]]), scale_atoms=True)
    boxed = atoms.copy()
    boxed.center(vacuum=8.0, axis=2)
    boxed.calc = load_student(COPPER, dtype="float64").calculator()
    BFGS(UnitCellFilter(boxed, mask=[1, 1, 0, 0, 0, 0]), logfile=None).run(fmax=1e-4, steps=1000)
    expected = float(boxed.cell.lengths()[0])
    atoms.pbc = (True, True, False)
    rest = "unfix move\nthermo_style custom step pe lx ly\nthermo_modify format float %20.15g\n"
    rest += "fix b all box/relax x 0 y 0 couple xy vmax 0.0005\n" + "minimize 0 1e-6 2000 20000\n" * 3
    rows = []
    for build in builds:
        for ranks in (1, 2):
            with tempfile.TemporaryDirectory() as temporary:
                folder = Path(temporary)
                (folder / "student").symlink_to(COPPER)
                length = thermo_rows(lmp(build, folder, script(build, folder, atoms, "double", rest), ranks))[-1][2]
            row = {"part": "relax", "lammps": build.name, "ranks": ranks, "system": "slab of copper", "atoms": len(atoms)}
            row |= {"start_angstrom": float(atoms.cell[0, 0]), "angstrom": length, "ase_angstrom": expected}
            rows.append({**row, "relative_difference": abs(length / expected - 1)})
    return rows
