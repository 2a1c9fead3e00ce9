"""Run production MD with the student, and compare it with its teacher on frames of that MD.

    python production.py RUN [--start silicon.extxyz] [--kelvin 600] [--ps 50] [--out production]

``RUN`` is a run folder. The folder ``--out`` gets ``trajectory.extxyz``, ``result.json``, the pictures ``md.png``,
``rdf.png`` and ``parity.png``, and their numbers as ``md.csv``, ``rdf.csv`` and ``forces.csv``.
The errors are those of the student on its own trajectory, which nothing was trained on.
"""

import argparse
import json
from pathlib import Path
from time import perf_counter

import ase.io
import matplotlib as mpl
import numpy as np
from ase import units
from ase.geometry.analysis import Analysis
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

import potstill
from potstill.core.types import Structure

mpl.use("agg")
from matplotlib import pyplot as plt  # after the choice of a backend without a window

SETTLING_FRACTION = 0.1  # of the trajectory, left out of all averages
FRAMES, FRICTION_PER_PS, TIMESTEP_FS = 100, 10.0, 1.0


def simulate(run, start, kelvin, ps, out):
    """Run Langevin dynamics from the structure in the middle of a file; return frames and figures over time."""
    frames = ase.io.read(start, index=":")
    atoms = frames[len(frames) // 2]
    atoms.calc = potstill.load_student(run / "student").calculator()
    rng = np.random.default_rng(1)
    MaxwellBoltzmannDistribution(atoms, temperature_K=kelvin, rng=rng)
    friction = FRICTION_PER_PS / (1000 * units.fs)
    dynamics = Langevin(atoms, TIMESTEP_FS * units.fs, temperature_K=kelvin, friction=friction, rng=rng, fixcm=False)
    found, rows, seconds = [], [], 0.0
    every = max(1, round(1000 * ps / TIMESTEP_FS / FRAMES))
    for _ in range(FRAMES):
        begun = perf_counter()
        dynamics.run(every)
        seconds += perf_counter() - begun
        found.append(atoms.copy())
        expected = atoms.calc.results.get("uncertainty", np.zeros(len(atoms)))
        rows.append((dynamics.nsteps * TIMESTEP_FS / 1000, atoms.get_temperature(), float(np.max(expected))))
    ase.io.write(out / "trajectory.extxyz", found)
    return found, np.array(rows), seconds


def compare(run, frames, teacher):
    """Forces of student and teacher on frames, (n, 3) each, and their energies per atom."""
    structures = [Structure.from_ase(atoms) for atoms in frames]
    begun = perf_counter()
    wanted = teacher.label(structures)
    teacher_seconds = (perf_counter() - begun) / len(structures)
    given = potstill.load_student(run / "student").label(structures)
    forces = [np.concatenate([labels.forces for labels in of]) for of in (wanted, given)]
    energies = [np.array([a.energy / len(s) for a, s in zip(of, structures, strict=True)]) for of in (wanted, given)]
    return forces, energies, teacher_seconds


def distribution(frames):
    """Return distances in Å and the mean radial distribution g(r) of the settled frames."""
    shortest = min(np.linalg.norm(frames[0].cell, axis=1)) / 2
    kept = frames[round(SETTLING_FRACTION * len(frames)) :]
    curves = [Analysis(atoms).get_rdf(0.99 * shortest, 120, return_dists=True)[0] for atoms in kept]
    return curves[0][1], np.mean([values for values, _ in curves], axis=0)


def write_tables(out, rows, rdf, forces):
    """Write the numbers behind the pictures."""
    pairs = np.column_stack([part.ravel() for part in forces])
    for name, table, head in (
        ("md", rows, "time_ps,temperature_kelvin,largest_expected_error_ev_per_angstrom"),
        ("rdf", np.column_stack(rdf), "distance_angstrom,g"),
        ("forces", pairs, "teacher_ev_per_angstrom,student_ev_per_angstrom"),
    ):
        np.savetxt(out / f"{name}.csv", table, fmt="%.5g", delimiter=",", header=head, comments="")


def draw(out, rows, rdf, forces, kelvin):
    """Draw temperature and expected error over time, the radial distribution, and forces beside forces."""
    figure, (upper, lower) = plt.subplots(2, 1, sharex=True, figsize=(6, 4), layout="constrained")
    upper.plot(rows[:, 0], rows[:, 1])
    upper.axhline(kelvin, color="gray", linewidth=0.8)
    upper.set_ylabel("temperature, K")
    lower.plot(rows[:, 0], rows[:, 2])
    lower.set(ylabel="largest expected\nforce error, eV/Å", xlabel="time, ps")
    figure.savefig(out / "md.png", dpi=110)

    figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
    axes.plot(*rdf)
    axes.set(xlabel="distance, Å", ylabel="g(r)")
    figure.savefig(out / "rdf.png", dpi=110)

    figure, axes = plt.subplots(figsize=(4, 4), layout="constrained")
    axes.plot(forces[0].ravel(), forces[1].ravel(), ".", markersize=2)
    ends = [forces[0].min(), forces[0].max()]
    axes.plot(ends, ends, color="gray", linewidth=0.8)
    axes.set(xlabel="force by the teacher, eV/Å", ylabel="force by the student, eV/Å", aspect="equal")
    figure.savefig(out / "parity.png", dpi=110)
    plt.close("all")


def main():
    """Simulate, compare, draw, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--start", type=Path, default=Path("silicon.extxyz"))
    parser.add_argument("--kelvin", type=float, default=600.0)
    parser.add_argument("--ps", type=float, default=50.0)
    parser.add_argument("--out", type=Path, default=Path("production"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    frames, rows, seconds = simulate(options.run, options.start, options.kelvin, options.ps, options.out)
    settled = round(SETTLING_FRACTION * len(frames))
    config = potstill.load_config(options.run / "config.yaml")
    forces, energies, teacher_seconds = compare(options.run, frames[settled::5], config.label.teacher.load())
    rdf = distribution(frames)
    write_tables(options.out, rows, rdf, forces)
    draw(options.out, rows, rdf, forces, options.kelvin)
    steps = options.ps * 1000 / TIMESTEP_FS
    result = {
        "atoms": len(frames[0]),
        "ps": options.ps,
        "kelvin": options.kelvin,
        "mean_kelvin": round(float(rows[settled:, 1].mean()), 1),
        "frames_compared": len(frames[settled::5]),
        "force_mae_mev_per_angstrom": round(1e3 * float(np.abs(forces[1] - forces[0]).mean()), 1),
        "mean_force_component_mev_per_angstrom": round(1e3 * float(np.abs(forces[0]).mean()), 1),
        "energy_mae_mev_per_atom": round(1e3 * float(np.abs(energies[1] - energies[0]).mean()), 2),
        "largest_expected_error_ev_per_angstrom": round(float(rows[settled:, 2].max()), 3),
        "student_ns_per_day": round(86400 * options.ps / 1000 / seconds, 1),
        "teacher_over_student": round(teacher_seconds / (seconds / steps), 1),
    }
    (options.out / "result.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    for name, value in result.items():
        print(f"{name:42s} {value}")


if __name__ == "__main__":
    main()
