"""Exports against their student: each format is loaded as its engine loads it, and evaluated on the example.

Lengths of forces are compared, since some engines turn the cell. A warning in the log names a format whose engine is not
installed here as not checked, and also one whose file its script makes later.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import numpy as np

from potstill.core.errors import MissingExtraError, PotstillError
from potstill.core.registry import borrow
from potstill.core.types import Array, Labels, Structure
from potstill.deploy.student import load_student

log = logging.getLogger(__name__)

LARGEST_DIFFERENCE = 1e-6  # eV per atom and eV/Å, for the same code with the same files
OTHER_CODE = 1e-3  # relative to the largest force, or to 1 eV/Å: float32 sums in another order


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
    if name not in _LOADERS:
        return True
    try:
        found = _LOADERS[name](folder, example)
    except (MissingExtraError, FileNotFoundError) as error:
        reason = str(error).splitlines()[0]
        log.warning("the export in %s was not checked in its engine: %s", folder, reason)
        return False
    _compare(folder, found, expected, OTHER_CODE * max(1.0, float(np.abs(expected.forces).max())))
    return True


def _compare(path: Path, found: Labels, expected: Labels, limit: float) -> None:
    lengths = [np.linalg.norm(labels.forces, axis=1) for labels in (found, expected)]
    energy = abs(found.energy - expected.energy) / len(expected.forces)
    difference = float(np.max([energy, np.abs(lengths[0] - lengths[1]).max()]))  # NaN stays NaN
    if not difference <= limit:
        raise PotstillError(
            f"the export in {path} differs from its student by {difference:.2e} eV/atom or eV/Å, "
            f"expected at most {limit:.0e}\n  export it again with:  potstill deploy RUN"
        )


def _asked(calculator: Any, folder: Path) -> Labels:
    atoms: Any = ase.io.read(folder / "example.xyz")
    atoms.calc = calculator
    return Labels(float(atoms.get_potential_energy()), np.asarray(atoms.get_forces()))


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"{path.name} is missing; its script makes it")
    return path


def _ase(folder: Path, _example: Structure) -> Labels:
    return _asked(load_student(folder).calculator(), folder)


def _pt2(folder: Path, example: Structure) -> Labels:
    from potstill.deploy.pt2 import load_compiled

    (found,) = load_compiled(folder / "student", _existing(folder / "student.pt2")).label([example])
    return found


def _metatomic(folder: Path, _example: Structure) -> Labels:
    package = borrow("metatomic_ase", "engines", "the check of the export to metatomic")
    return _asked(package.MetatomicCalculator(_existing(folder / "student.pt")), folder)


def _openmm(folder: Path, example: Structure) -> Labels:
    from potstill.deploy.openmm import EV_KJ_PER_MOL, NM_ANGSTROM, make_system

    openmm = borrow("openmm", "engines", "the check of the export to OpenMM")
    system, positions = make_system(load_student(folder / "student"), example)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(positions)
    state = context.getState(getEnergy=True, getForces=True)
    forces: Array = np.asarray(state.getForces(asNumpy=True)._value)
    return Labels(state.getPotentialEnergy()._value / EV_KJ_PER_MOL, forces / (EV_KJ_PER_MOL * NM_ANGSTROM))


def _torchsim(folder: Path, _example: Structure) -> Labels:
    package = borrow("torch_sim", "engines", "the check of the export to TorchSim")
    from potstill.deploy.torchsim import StudentModel

    model = StudentModel(load_student(folder / "student"))
    atoms: Any = ase.io.read(folder / "example.xyz")
    found = model(package.io.atoms_to_state([atoms], model.device, model.dtype))
    return Labels(float(found["energy"][0]), found["forces"].cpu().numpy())


def _ipi(folder: Path, _example: Structure) -> Labels:
    from potstill.deploy.ipi import StudentDriver

    driver = StudentDriver(str(folder / "student"), str(folder / "example.xyz"))
    atoms: Any = ase.io.read(folder / "example.xyz")
    energy, forces, _, _ = driver(np.array(atoms.cell).T / driver._angstrom, atoms.positions / driver._angstrom)
    hartree = driver._hartree
    return Labels(energy / hartree, forces / (hartree * driver._angstrom))


# The tests of the format lammps prove it: a plug-in must be compiled for it.
_LOADERS: dict[str, Callable[[Path, Structure], Labels]] = {
    "ase": _ase,
    "pt2": _pt2,
    "metatomic": _metatomic,
    "openmm": _openmm,
    "torchsim": _torchsim,
    "ipi": _ipi,
}
