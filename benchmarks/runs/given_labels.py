"""Students from labels that a user brings: GFN2-xTB stands for a quantum-chemical program, potstill never calls it.

    python -m benchmarks.runs.given_labels [--systems aspirin water_cluster] [--folder DIR]        (needs tblite)

xTB's own MD at 500 K gives the frames, which are written with their energies and forces as extended XYZ. They go through
``potstill run`` with the template ``my_labels`` as it is. Then the student runs MD at 300 K, and xTB computes energy and
forces of its frames: errors are those on the student's own trajectory. Results in ``results/given_labels.json``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from benchmarks.lib.common import write_results
from benchmarks.lib.own_md import run_md
from rdkit import Chem
from rdkit.Chem.rdDistGeom import EmbedMolecule

from potstill.core.types import Structure
from potstill.dataset import open_file
from potstill.deploy import load_student
from potstill.teacher.calculator import TeacherCalculator
from potstill.teacher.xtb import XTB

TEMPLATE = Path(__file__).resolve().parents[2] / "src" / "potstill" / "templates" / "my_labels.yaml"
FRAMES, BETWEEN_FRAMES_FS, HOT_KELVIN = 300, 40.0, 500.0
KELVIN, LENGTH_PS, JUDGED_EVERY_FS = 300.0, 20.0, 200.0


def aspirin() -> Atoms:
    """Return a conformer of aspirin."""
    with_hydrogens = Chem.AddHs(Chem.MolFromSmiles("CC(=O)Oc1ccccc1C(=O)O"))
    EmbedMolecule(with_hydrogens, randomSeed=1)
    symbols = [atom.GetSymbol() for atom in with_hydrogens.GetAtoms()]
    return Atoms(symbols, with_hydrogens.GetConformer().GetPositions())


def water_cluster() -> Atoms:
    """Return eight molecules of water at the corners of a cube of 2.9 Å, each turned at random."""
    rng = np.random.default_rng(1)
    cluster = Atoms()
    for corner in np.ndindex(2, 2, 2):
        water = Atoms("OH2", [(0, 0, 0), (0.757, 0.586, 0), (-0.757, 0.586, 0)])
        water.rotate(rng.uniform(0, 360), rng.normal(size=3))
        water.translate(2.9 * np.array(corner))
        cluster += water
    return cluster


SYSTEMS: dict[str, Callable[[], Atoms]] = {"aspirin": aspirin, "water_cluster": water_cluster}


def main() -> None:
    """Measure the systems, one row each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--folder", type=Path, help="folder that keeps the runs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.systems:
            folder = (options.folder or Path(scratch)) / name
            folder.mkdir(parents=True, exist_ok=True)
            ase.io.write(folder / "my_labels.extxyz", frames_of(SYSTEMS[name]()))
            row = {"system": name, **trained(folder), **judged(folder)}
            print(json.dumps(row), file=sys.stderr, flush=True)
            path = write_results("given_labels", [row], keep=("system",))
    print(path)


def frames_of(atoms: Atoms) -> list[Atoms]:
    """Return frames of xTB's own MD with energies and forces, as a user's file has them."""
    rng = np.random.default_rng(1)
    atoms.calc = TeacherCalculator(XTB().load())
    frames = []
    length_ps = FRAMES * BETWEEN_FRAMES_FS / 1000
    for _ in run_md(atoms, HOT_KELVIN, length_ps=length_ps, every_fs=BETWEEN_FRAMES_FS, rng=rng):
        frame = Atoms(atoms.numbers, atoms.positions)
        frame.calc = SinglePointCalculator(frame, energy=atoms.get_potential_energy(), forces=atoms.get_forces())
        frames.append(frame)
    return frames


def trained(folder: Path) -> dict[str, Any]:
    """Run the template as it is, and return what its files say."""
    (folder / "my_labels.yaml").write_text(TEMPLATE.read_text(encoding="utf-8"), encoding="utf-8")
    command = [sys.executable, "-m", "potstill", "run", "my_labels.yaml", "--out", "run", "--yes"]
    started = perf_counter()
    subprocess.run([*command, *(["--resume"] if (folder / "run").exists() else [])], cwd=folder, check=True)
    seconds = perf_counter() - started
    audit = json.loads((folder / "run" / "audit.json").read_text(encoding="utf-8"))
    findings = json.loads((folder / "run" / "evaluate.json").read_text(encoding="utf-8"))["findings"]
    asked = [f for f in findings if f["verdict"] != "DOES_NOT_APPLY"]
    return {
        "atoms": len(ase.io.read(folder / "my_labels.extxyz", index="0")),
        "labels": len(open_file(folder / "run" / "dataset.h5")),
        "wall_seconds": round(seconds, 1),
        "audit": audit["verdict"],
        "gates_met": sum(f["verdict"] == "GO" for f in asked),
        "gates_asked": len(asked),
        "gates_missed": [f["check"] for f in asked if f["verdict"] != "GO"],
    }


def judged(folder: Path) -> dict[str, Any]:
    """Return the errors of the student on frames of its own trajectory."""
    student, teacher = load_student(folder / "run"), XTB().load()
    rng = np.random.default_rng(2026)
    atoms: Any = ase.io.read(folder / "my_labels.extxyz", index="0")
    atoms.calc = student.calculator()
    moved = run_md(atoms, KELVIN, length_ps=LENGTH_PS, every_fs=JUDGED_EVERY_FS, rng=rng)
    frames = [Structure.from_ase(frame).with_(labels=None) for frame in moved]
    found, wanted = student.label(frames), teacher.label(frames)
    off = np.concatenate([a.forces - b.forces for a, b in zip(found, wanted, strict=True)])
    forces = np.concatenate([b.forces for b in wanted])
    energies = [(a.energy - b.energy) / len(f) for a, b, f in zip(found, wanted, frames, strict=True)]
    return {
        "kelvin": KELVIN,
        "length_ps": LENGTH_PS,
        "frames_judged": len(frames),
        "force_mae_mev_per_angstrom": round(1e3 * float(np.abs(off).mean()), 1),
        "of_mean_force": round(float(np.linalg.norm(off, axis=1).sum() / np.linalg.norm(forces, axis=1).sum()), 4),
        "energy_mae_mev_per_atom": round(1e3 * float(np.mean(np.abs(energies))), 2),
    }


if __name__ == "__main__":
    main()
