"""Runs of LAMMPS with ``pair_style potstill``: the student's file, the input script, the output of a run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from ase import Atoms

from potstill.core.types import Structure
from potstill.deploy.lammps import boundary, write_data
from potstill.deploy.lammps_setup import Lammps, compile_for
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


def loop_seconds(shown: str) -> float:
    """Time of the last loop, as LAMMPS says it."""
    return float(re.findall(r"Loop time of ([0-9.e+-]+)", shown)[-1])


def cpu_seconds(shown: str) -> float:
    """Processor time of the last loop, from its wall time and the share that LAMMPS states; others may use the cores too."""
    return loop_seconds(shown) * float(re.findall(r"([0-9.]+)% CPU use", shown)[-1]) / 100


def resident_bytes(shown: str) -> float:
    """Largest resident set of a process of the run."""
    return 1024 * float(re.findall(r"^KB (\d+)", shown, re.MULTILINE)[-1])


def thermo_rows(shown: str) -> list[list[float]]:
    """Lines of the last table of thermodynamic output."""
    lines = [line.split() for line in shown.splitlines()]
    start = max(k for k, words in enumerate(lines) if words[:1] == ["Step"])
    end = next(k for k in range(start, len(lines)) if lines[k][:2] == ["Loop", "time"])
    return [[float(x) for x in words] for words in lines[start + 1 : end] if words[:1] and words[0].isdigit()]
