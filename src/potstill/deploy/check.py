"""Compare exports with their student: each format is loaded as its engine loads it, and computes the example.

Energies, forces and, where the engine gives one, the stress are compared. Answers of engines that turn the cell are turned
back. A format whose engine or compiler is not installed here is named in the log as not checked. So is one whose file its
script makes later.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ase.io
import numpy as np

from potstill.core.cpp import KernelError
from potstill.core.errors import MissingExtraError, PotstillError
from potstill.core.registry import borrow
from potstill.core.types import Array, Labels, Structure
from potstill.deploy.engine import lower_triangular
from potstill.deploy.student import load_student

log = logging.getLogger(__name__)

LARGEST_DIFFERENCE = 1e-6  # eV per atom and eV/Å, for the same code with the same files
ENGINE_SECONDS = 300
ANSWER = "answer "  # begins the line that ask_ipi.py.txt prints
OTHER_CODE = 1e-3  # of the largest force, or of one eV/Å: float32 in another order of sums


def check_export(student: Path, folder: Path, name: str, example: Structure) -> bool:
    """Compare an export with its student; return whether that was possible here.

    Parameters
    ----------
    student
        Folder of the student.
    folder
        Folder of the export.
    name
        Name of its format.
    example
        Structure that both are evaluated on.

    Raises
    ------
    PotstillError
        If they differ.
    """
    (expected,) = load_student(student).label([example])
    (copied,) = load_student(folder / "student").label([example])
    _compare(folder / "student", copied, expected, LARGEST_DIFFERENCE)
    try:
        found = _LOADERS[name](folder, example)
    except (MissingExtraError, KernelError, FileNotFoundError) as error:
        reason = str(error).splitlines()[0]
        log.warning("the export in %s was not checked in its engine: %s", folder, reason)
        return False
    for path, labels in found.items():
        _compare(path, labels, expected, OTHER_CODE * max(1.0, float(np.abs(expected.forces).max())))
    return True


def _compare(path: Path, found: Labels, expected: Labels, limit: float) -> None:
    differences = [abs(found.energy - expected.energy) / len(expected.forces), np.abs(found.forces - expected.forces).max()]
    if found.stress is not None and expected.stress is not None:
        differences.append(np.abs(found.stress - expected.stress).max())
    difference = float(np.max(differences))  # NaN stays NaN
    if not difference <= limit:
        raise PotstillError(
            f"the export in {path} differs from its student by {difference:.2e} eV/atom, eV/Å or eV/Å^3, "
            f"expected at most {limit:.0e}\n  export it again with:  potstill deploy RUN"
        )


Found = dict[Path, Labels]


def _asked(calculator: Any, folder: Path) -> Labels:
    atoms: Any = ase.io.read(folder / "example.xyz")
    atoms.calc = calculator
    energy, forces = float(atoms.get_potential_energy()), np.asarray(atoms.get_forces())
    return Labels(energy, forces, atoms.get_stress(voigt=False) if atoms.pbc.all() else None)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"{path.name} is missing; its script makes it")
    return path


def _ase(folder: Path, _example: Structure) -> Found:
    return {folder: _asked(load_student(folder).calculator(), folder)}


def _lammps(folder: Path, example: Structure) -> Found:
    from potstill.deploy.read_back import label_with_file

    file = folder / "student.potstill"
    return {file: label_with_file(file, example)}


def _pt2(folder: Path, example: Structure) -> Found:
    from potstill.deploy.pt2 import load_compiled

    (found,) = load_compiled(folder / "student", _existing(folder / "student.pt2")).label([example])
    return {folder: found}


def _metatomic(folder: Path, _example: Structure) -> Found:
    package = borrow("metatomic_ase", "engines", "the check of the export to metatomic")
    found = {folder / "student.pt": _asked(package.MetatomicCalculator(_existing(folder / "student.pt")), folder)}
    fused = folder / "fused" / "student.pt"
    if fused.is_file():
        found[fused] = _asked(package.MetatomicCalculator(fused, extensions_directory=fused.with_name("extensions")), folder)
    return found


def _openmm(folder: Path, example: Structure) -> Found:
    from potstill.deploy.openmm import EV_KJ_PER_MOL, NM_ANGSTROM, make_system

    openmm = borrow("openmm", "engines", "the check of the export to OpenMM")
    system, positions = make_system(load_student(folder / "student"), example)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(positions)
    state = context.getState(getEnergy=True, getForces=True)
    forces: Array = np.asarray(state.getForces(asNumpy=True)._value) / (EV_KJ_PER_MOL * NM_ANGSTROM)
    turn = lower_triangular(example)[1] if example.pbc.any() else np.eye(3)
    return {folder: Labels(state.getPotentialEnergy()._value / EV_KJ_PER_MOL, forces @ turn.T)}


def _torchsim(folder: Path, example: Structure) -> Found:
    borrow("torch_sim", "engines", "the check of the export to TorchSim")
    from potstill.deploy.torchsim import StudentModel, make_state

    model = StudentModel(load_student(folder / "student"))
    atoms: Any = ase.io.read(folder / "example.xyz")
    found = model(make_state([Structure.from_ase(atoms)], model))
    turned = example.pbc.any() and not example.pbc.all()
    turn = lower_triangular(example)[1] if turned else np.eye(3)
    stress = found["stress"][0].cpu().numpy() if example.pbc.all() else None
    return {folder: Labels(float(found["energy"][0]), found["forces"].cpu().numpy() @ turn.T, stress)}


def _ipi(folder: Path, example: Structure) -> Found:
    """Run i-PI itself on ``input.xml``, in a process and a folder of its own: it handles signals and writes files."""
    borrow("ipi", "engines", "the check of the export to i-PI")
    with TemporaryDirectory() as temporary:
        for item in folder.iterdir():
            (Path(temporary) / item.name).symlink_to(item.absolute())
        script = resources.files("potstill.deploy").joinpath("ask_ipi.py.txt").read_text(encoding="utf-8")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        try:
            done = subprocess.run(
                [sys.executable, "-c", script],
                cwd=temporary,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=ENGINE_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise PotstillError(
                f"i-PI gave no answer for the export in {folder} within {ENGINE_SECONDS} s\n"
                "  is the machine busy?  repeat:  potstill deploy RUN --to ipi"
            ) from None
    lines = [line for line in done.stdout.splitlines() if line.startswith(ANSWER)]
    if done.returncode or not lines:
        raise PotstillError(f"i-PI does not run the export in {folder}:\n{(done.stderr or done.stdout).strip()[-1000:]}")
    found = json.loads(lines[-1].removeprefix(ANSWER))
    turn = lower_triangular(example)[1]
    stress = turn @ np.array(found["stress"]) @ turn.T if example.pbc.all() else None
    return {folder: Labels(found["energy"], np.array(found["forces"]).reshape(-1, 3) @ turn.T, stress)}


_LOADERS: dict[str, Callable[[Path, Structure], Found]] = {
    "ase": _ase,
    "lammps": _lammps,
    "pt2": _pt2,
    "metatomic": _metatomic,
    "openmm": _openmm,
    "torchsim": _torchsim,
    "ipi": _ipi,
}
