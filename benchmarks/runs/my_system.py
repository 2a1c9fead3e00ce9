"""A student for one system: crystals, a surface, an alloy, a layered crystal, a molten salt, water; judged in its own MD.

    python -m benchmarks.runs.my_system [--systems silicon silicon_carbide …] [--start general] [--folder DIR]

Each starts from at most ten structures, as a user would bring them, and goes through ``potstill run --last train`` with the
template ``my_system``, its rounds and SevenNet's 7net-0. Then the student moves the atoms for 50 ps at constant volume and
temperature, in a cell as wide as those of the rounds, and the teacher labels a frame every half picosecond: the errors are
those of the student on its own trajectory, which nothing was trained on. On the same frames it is counted how often the
student's bound of 90 % holds. A short trajectory in a far wider cell shows what errors in large cells are. Wall times are
those of the whole run; where a run was stopped and went on, the sum of its stages. Results in ``results/my_system.json``;
systems that are not measured again stay.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import ase.io
import numpy as np
import yaml
from ase import Atoms
from ase.build import bulk
from benchmarks.lib.common import processor_seconds, write_results
from benchmarks.lib.own_md import run_md

from potstill.core.dynamics import repeat_crystal
from potstill.core.geometry import smallest_scaled_distance
from potstill.core.supercells import with_distant_images
from potstill.core.types import Array, Structure, Teacher
from potstill.dataset import open_file
from potstill.deploy.student import DeployedStudent, load_student
from potstill.generate.liquids import Liquids
from potstill.generate.melts import Melts
from potstill.run.facts import round_reports
from potstill.run.folder import RunFolder
from potstill.student.uncertainty import judge as judge_expectations
from potstill.teacher.sevennet import SevenNet

TEMPLATE = Path(__file__).resolve().parents[2] / "src" / "potstill" / "templates" / "my_system.yaml"
SETTLING_PS, BETWEEN_FRAMES_FS = 2.0, 500.0
IMAGES_ANGSTROM, FAR_IMAGES_ANGSTROM = 10.0, 17.0  # as in the rounds, and nearly twice that
SETTLING_WIDE_PS, BETWEEN_WIDE_FRAMES_FS, WIDE_FRAMES = 0.6, 100.0, 6
LABELS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class System:
    """Structures that a user brings, and temperatures in K of the rounds and of the trajectory that judges."""

    structures: Callable[[], list[Atoms]]
    rounds_kelvin: tuple[float, ...]
    kelvin: float


def silicon() -> list[Atoms]:
    """64 atoms of diamond at ten lattice parameters."""
    return [bulk("Si", "diamond", a=a, cubic=True).repeat(2) for a in np.linspace(5.35, 5.60, 10)]


def silicon_carbide() -> list[Atoms]:
    """64 atoms of zincblende at five lattice parameters."""
    return [bulk("SiC", "zincblende", a=a, cubic=True).repeat(2) for a in np.linspace(4.28, 4.45, 5)]


def magnesia_surface() -> list[Atoms]:
    """A (100) slab of four layers, at three lattice parameters."""
    slabs = []
    for a in (4.16, 4.21, 4.26):
        slab = bulk("MgO", "rocksalt", a=a, cubic=True).repeat((2, 2, 2))
        slab.center(vacuum=6.0, axis=2)
        slabs.append(slab)
    return slabs


def copper_nickel() -> list[Atoms]:
    """Five random decorations of 32 fcc sites with copper and nickel."""
    rng = np.random.default_rng(1)
    alloys = []
    for _ in range(5):
        alloy = bulk("Cu", "fcc", a=3.57, cubic=True).repeat(2)
        alloy.numbers[rng.permutation(32)[:16]] = 28
        alloys.append(alloy)
    return alloys


def boron_nitride() -> list[Atoms]:
    """16 atoms of the layered crystal at ten distances of the layers, a cell that is far too narrow."""
    sheets = []
    for a, c in zip(np.linspace(2.48, 2.53, 10), np.linspace(6.5, 7.1, 10), strict=True):
        places = [[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0], [2 / 3, 1 / 3, 0.5], [1 / 3, 2 / 3, 0.5]]
        cell = [[a, 0, 0], [-a / 2, a * np.sqrt(3) / 2, 0], [0, 0, c]]
        sheets.append(Atoms("BNBN", scaled_positions=places, cell=cell, pbc=True).repeat((2, 2, 1)))
    return sheets


def molten_salt() -> list[Atoms]:
    """Ten boxes of 64 ions at random, near the density of the melt."""
    melts = Melts(count=10, elements=("Na", "Cl"), max_atoms=64, packing_fraction=(0.36, 0.40), max_cations=1)
    return _drawn(melts, 64)


def water() -> list[Atoms]:
    """Ten boxes of about 24 molecules near 1 g/cm^3."""
    liquids = Liquids(count=10, smiles=("O",), max_atoms=72, density_g_per_cubic_cm=(0.95, 1.02), max_components=1)
    return _drawn(liquids, 60)


def _drawn(source: Any, smallest: int) -> list[Atoms]:
    """The first ten of a source that are not small."""
    found: list[Atoms] = []
    for index in range(1000):
        (drawn,) = source.propose([index], 1, [])
        if isinstance(drawn, Structure) and len(drawn) >= smallest:
            found.append(drawn.to_ase())
        if len(found) == 10:
            return found
    raise RuntimeError(f"{source.source}: only {len(found)} structures of {smallest} atoms and more")


SYSTEMS = {
    "silicon": System(silicon, (300.0, 600.0, 1000.0), 600.0),
    "silicon_carbide": System(silicon_carbide, (300.0, 600.0, 1000.0), 600.0),
    "magnesia_surface": System(magnesia_surface, (300.0, 600.0, 1000.0), 600.0),
    "copper_nickel": System(copper_nickel, (300.0, 600.0, 1000.0), 600.0),
    "boron_nitride": System(boron_nitride, (300.0, 600.0, 1000.0), 600.0),
    "molten_salt": System(molten_salt, (1200.0, 1500.0), 1200.0),
    "water": System(water, (300.0, 400.0), 330.0),
}


def config_of(system: System, structures: int, start: str) -> dict[str, Any]:
    """The template with the user's file and temperatures, and the student that the training starts from."""
    config: dict[str, Any] = yaml.safe_load(TEMPLATE.read_text(encoding="utf-8"))
    config["generate"]["sources"][0]["count"] = structures
    config["active_learning"]["temperatures_kelvin"] = list(system.rounds_kelvin)
    config["generate"]["sources"][1]["temperatures_kelvin"] = [100.0, max(system.rounds_kelvin)]
    if start:
        config["train"]["start"] = start
        del config["student"]
    return config


def run(system: System, folder: Path, start: str, *, busy: bool) -> dict[str, Any]:
    """Seconds of the clock and of the processors for the whole run; the latter only where it did not go on from another."""
    folder.mkdir(parents=True, exist_ok=True)
    structures = system.structures()
    ase.io.write(folder / "my_structures.extxyz", structures)
    (folder / "config.yaml").write_text(
        yaml.safe_dump(config_of(system, len(structures), start), sort_keys=False), encoding="utf-8"
    )
    command = [sys.executable, "-m", "potstill", "run", "config.yaml", "--out", "run", "--last", "train", "--yes"]
    resumed, took = (folder / "run").exists(), folder / "took.json"
    started, before = perf_counter(), processor_seconds()
    subprocess.run(command + ["--resume"] * resumed, cwd=folder, check=True)
    if not resumed:
        times = {"wall_seconds": perf_counter() - started, "processor_seconds": processor_seconds() - before}
        rounded = {name: round(seconds, 1) for name, seconds in times.items()}
        took.write_text(json.dumps({**rounded, "busy": busy}), encoding="utf-8")
    if took.exists():  # trained in one go, by this call or an earlier one
        found: dict[str, Any] = json.loads(took.read_text(encoding="utf-8"))
        return found
    stages = json.loads((folder / "run" / "run.json").read_text(encoding="utf-8"))["stages"]
    seconds = round(sum(stage["seconds"] for stage in stages.values()), 1)
    return {"wall_seconds": seconds, "processor_seconds": None, "busy": busy}


def judge(folder: Path, system: System, length_ps: float) -> dict[str, Any]:
    """Errors of the student on frames of its own trajectory, and whether it held together."""
    student = load_student(folder / "run" / "student")
    rng = np.random.default_rng(2026)
    brought = Structure.from_ase(ase.io.read(folder / "my_structures.extxyz", index="0"))
    atoms: Any = repeat_crystal(brought, 1, image_angstrom=IMAGES_ANGSTROM).to_ase()
    atoms.calc = student.calculator()
    frames, temperatures, closest = [], [], np.inf
    started = perf_counter()
    for _ in run_md(atoms, system.kelvin, length_ps=length_ps, every_fs=BETWEEN_FRAMES_FS, rng=rng):
        frames.append(Structure.from_ase(atoms))
        temperatures.append(float(atoms.get_temperature()))
        closest = min(closest, smallest_scaled_distance(frames[-1])[0])
    seconds = perf_counter() - started
    settled = frames[round(1000 * SETTLING_PS / BETWEEN_FRAMES_FS) :]
    teacher = SevenNet(weights="7net-0").open()
    forces, sizes, energies, expected, errors = [], [], [], [], []
    for start in range(0, len(settled), LABELS_AT_ONCE):
        some = [f.with_(labels=None) for f in settled[start : start + LABELS_AT_ONCE]]
        for frame, found, wanted in zip(some, student.label(some, uncertainty=True), teacher.label(some), strict=True):
            expected.append(found.extra["uncertainty"])
            errors.append(np.linalg.norm(found.forces - wanted.forces, axis=1))
            forces.append(np.abs(found.forces - wanted.forces).mean())
            sizes.append(np.abs(wanted.forces).mean())
            energies.append((found.energy - wanted.energy) / len(frame))
    return {
        "atoms_in_md": len(atoms),
        "length_ps": length_ps,
        "kelvin": system.kelvin,
        "mean_kelvin": round(float(np.mean(temperatures)), 1),
        "highest_kelvin": round(max(temperatures), 1),
        "smallest_scaled_distance": round(float(closest), 3),
        "finite": bool(np.isfinite(frames[-1].positions).all()),
        "frames_labelled": len(settled),
        "force_mae_mev_per_angstrom": round(1e3 * float(np.mean(forces)), 2),
        "mean_force_component_mev_per_angstrom": round(1e3 * float(np.mean(sizes)), 1),
        "energy_mae_mev_per_atom": round(1e3 * float(np.mean(np.abs(energies))), 3),
        "energy_bias_mev_per_atom": round(1e3 * float(np.mean(energies)), 3),
        "student_ns_per_day": round(length_ps / 1e3 / (seconds / 86400), 2),
        "in_wide_cell": _in_wide_cell(student, teacher, brought, system.kelvin),
        "expected_errors": _expectations(student, np.concatenate(expected), np.concatenate(errors)),
    }


def _in_wide_cell(student: DeployedStudent, teacher: Teacher, brought: Structure, kelvin: float) -> dict[str, Any]:
    """Errors in a short trajectory in a cell in which atoms are far from their own images."""
    atoms: Any = with_distant_images(brought, FAR_IMAGES_ANGSTROM).to_ase()
    atoms.calc = student.calculator()
    length = SETTLING_WIDE_PS + 1e-3 * BETWEEN_WIDE_FRAMES_FS * WIDE_FRAMES
    rng = np.random.default_rng(2026)
    moved = [
        Structure.from_ase(atoms) for _ in run_md(atoms, kelvin, length_ps=length, every_fs=BETWEEN_WIDE_FRAMES_FS, rng=rng)
    ]
    errors = []
    for frame in moved[-WIDE_FRAMES:]:
        (found,), (wanted,) = student.label([frame.with_(labels=None)]), teacher.label([frame.with_(labels=None)])
        errors.append(np.abs(found.forces - wanted.forces).mean())
    return {"atoms": len(atoms), "force_mae_mev_per_angstrom": round(1e3 * float(np.mean(errors)), 2)}


def _expectations(student: DeployedStudent, expected: Array, errors: Array) -> dict[str, Any]:
    """How well (N,) expected errors tell of (N,) true ones, and on which structures they were fitted."""
    known: Any = student.uncertainty
    judged = judge_expectations(expected, errors, float(known.threshold), float(known.bound))
    return {
        "fitted_on": student.config["uncertainty"]["of"],
        "over_true": round(float(expected.mean() / errors.mean()), 3),
        **{name: round(judged[name], 4) for name in ("within_bound", "auroc_large")},
    }


def main() -> None:
    """One row for each system."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--start", default="", help="student that the training starts from; random weights by default")
    parser.add_argument("--folder", type=Path, help="where the runs are kept; one that is there goes on")
    parser.add_argument("--length-ps", type=float, default=50.0)
    parser.add_argument("--train-only", action="store_true", help="judge in a later call with the same --folder")
    parser.add_argument("--busy", action="store_true", help="the machine does other work: mark the times")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.systems:
            named = f"{name}-{Path(options.start).name}" if options.start else name
            folder, system = (options.folder or Path(scratch)) / named, SYSTEMS[name]
            times = run(system, folder, options.start, busy=options.busy)
            if options.train_only:
                continue
            rounds = round_reports(RunFolder(folder / "run"))
            row: dict[str, Any] = {"system": name, "start": options.start, **times}
            row["rounds_mev_per_angstrom"] = [round(1e3 * r["forces"]["mae"], 1) for r in rounds if r["forces"]["mae"]]
            row["passed"] = bool(rounds and rounds[-1]["passed"])
            row["labels"] = sum(_labels(folder / "run"))
            row["atoms"] = len(ase.io.read(folder / "my_structures.extxyz", index="0"))
            row |= judge(folder, system, options.length_ps)
            if options.busy:
                row["student_ns_per_day"] = None
            print(json.dumps(row), file=sys.stderr, flush=True)
            path = write_results("my_system", [row], keep=["system", "start"])
    if not options.train_only:
        print(path)


def _labels(run_folder: Path) -> list[int]:
    return [len(open_file(path)) for path in [run_folder / "dataset.h5", *run_folder.glob("active_learning/*/new.h5")]]


if __name__ == "__main__":
    main()
