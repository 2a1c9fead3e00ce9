"""The student in OpenMM, as a ``PythonForce``.

Takes positions in nm and returns energies in kJ/mol and forces in kJ/mol/nm. OpenMM's barostats need energies only, so they
work too. Structures that are periodic in one or two directions get vacuum along the others.
"""

from __future__ import annotations

from typing import Any

import ase.data
import ase.units
import numpy as np

from potstill.core.errors import InputError
from potstill.core.registry import borrow
from potstill.core.types import Array, Structure
from potstill.deploy.engine import Stepper, in_periodic_box
from potstill.deploy.student import DeployedStudent

NM_ANGSTROM = 10.0
EV_KJ_PER_MOL = ase.units.mol / ase.units.kJ  # ASE's units are numbers in eV
VACUUM_CUTOFFS = 2.0  # thickness of the vacuum beside a slab, in cutoffs of the student


class StudentForce:
    """Callable of a ``PythonForce``, called in every step.

    Parameters
    ----------
    student
        Student of :func:`potstill.load_student`.
    atomic_numbers
        (n,) atomic numbers of OpenMM's particles.
    periodic
        Whether the system is periodic in all three directions of the context's box.
    """

    def __init__(self, student: DeployedStudent, atomic_numbers: Array, *, periodic: bool) -> None:
        self.step = Stepper(student)
        self.atomic_numbers, self.pbc = np.asarray(atomic_numbers), np.full(3, periodic)

    def __call__(self, state: Any) -> tuple[float, Array]:
        """Return energy in kJ/mol and (n, 3) forces in kJ/mol/nm of an ``openmm.State``."""
        positions = NM_ANGSTROM * state.getPositions(asNumpy=True)._value
        cell = np.zeros((3, 3))
        if self.pbc.any():
            cell = NM_ANGSTROM * np.array(state.getPeriodicBoxVectors(asNumpy=True)._value)
        labels = self.step(self.atomic_numbers, positions, cell, self.pbc)
        return EV_KJ_PER_MOL * labels.energy, (EV_KJ_PER_MOL * NM_ANGSTROM) * labels.forces


def make_force(student: DeployedStudent, atomic_numbers: Array, *, periodic: bool) -> Any:
    """Return an ``openmm.PythonForce`` for a system of the user's, whose particles are these atoms.

    Parameters
    ----------
    student, atomic_numbers, periodic
        As in :class:`StudentForce`.
    """
    openmm = borrow("openmm", "engines", "the export to OpenMM")
    if not hasattr(openmm, "PythonForce"):
        raise InputError(f"OpenMM 8.4 or newer is needed for PythonForce, found {openmm.__version__}")
    force = openmm.PythonForce(StudentForce(student, atomic_numbers, periodic=periodic))
    force.setUsesPeriodicBoundaryConditions(periodic)
    return force


def make_system(student: DeployedStudent, structure: Structure) -> tuple[Any, Array]:
    """Return an ``openmm.System`` of a structure with the student as its only force.

    Returns
    -------
    system, positions
        System, and (n, 3) positions in nm, turned with the cell into OpenMM's form.
    """
    openmm = borrow("openmm", "engines", "the export to OpenMM")
    periodic = bool(structure.pbc.any())
    if periodic:
        structure = in_periodic_box(structure, VACUUM_CUTOFFS * student.cutoff_angstrom)
    system = openmm.System()
    for z in structure.atomic_numbers:
        system.addParticle(float(ase.data.atomic_masses[z]))
    if periodic:
        system.setDefaultPeriodicBoxVectors(*(openmm.Vec3(*row) for row in structure.cell / NM_ANGSTROM))
    system.addForce(make_force(student, structure.atomic_numbers, periodic=periodic))
    return system, structure.positions / NM_ANGSTROM


def velocity_verlet(timestep_fs: float) -> Any:
    """Return an integrator whose velocities and positions have the same time, unlike those of OpenMM's leapfrog.

    Parameters
    ----------
    timestep_fs
        Length of a step in fs.
    """
    openmm = borrow("openmm", "engines", "the export to OpenMM")
    integrator = openmm.CustomIntegrator(1e-3 * timestep_fs)
    integrator.addUpdateContextState()
    integrator.addComputePerDof("v", "v+0.5*dt*f/m")
    integrator.addComputePerDof("x", "x+dt*v")
    integrator.addComputePerDof("v", "v+0.5*dt*f/m")
    return integrator
