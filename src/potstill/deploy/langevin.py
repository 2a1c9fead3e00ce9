"""Langevin dynamics of ASE ``Atoms`` by a student: on the GPU where the student's kernels are there, else by ASE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from potstill.core.dynamics import langevin, timestep_for
from potstill.core.types import Structure
from potstill.deploy.student import DeployedStudent

if TYPE_CHECKING:
    from potstill.student.gpu.session import GpuStudent


def langevin_by(
    student: DeployedStudent,
    atoms: Any,
    kelvin: float,
    *,
    timestep_fs: float,
    friction_per_ps: float,
    rng: np.random.Generator,
) -> tuple[Any, float]:
    """Return dynamics with a method ``run(steps)`` that moves ``Atoms``, and its time step in fs, which hydrogen halves.

    Parameters
    ----------
    student
        Student whose forces move the atoms.
    atoms
        ASE ``Atoms`` with the calculator of the student, and with velocities.
    kelvin
        Temperature of the thermostat in K.
    timestep_fs, friction_per_ps
        Length of a step in fs, and friction of the thermostat in 1/ps.
    rng
        Generator of the random numbers.
    """
    if student.gpu is None:
        return langevin(atoms, kelvin, timestep_fs=timestep_fs, friction_per_ps=friction_per_ps, rng=rng)
    timestep = timestep_for(atoms.numbers, timestep_fs)
    student.refuse_unknown(Structure.from_ase(atoms))
    return _OnDevice(student.gpu, atoms, kelvin, timestep, friction_per_ps, int(rng.integers(2**31))), timestep


class _OnDevice:
    """Atoms that move on the GPU; ASE's ``Atoms`` receive positions and velocities after each :meth:`run`."""

    def __init__(
        self, gpu: GpuStudent, atoms: Any, kelvin: float, timestep_fs: float, friction_per_ps: float, seed: int
    ) -> None:
        from potstill.student.gpu.dynamics import Dynamics

        self.atoms = atoms
        self._dynamics = Dynamics(
            gpu,
            [Structure.from_ase(atoms)],
            timestep_fs=timestep_fs,
            temperature_kelvin=kelvin,
            friction_per_fs=friction_per_ps / 1000,
            seed=seed,
        )
        self._dynamics.velocities.copy_(torch.from_numpy(atoms.get_velocities()))

    def run(self, steps: int) -> None:
        """Make steps.

        Raises
        ------
        StructureError
            If an atom moves so fast that the search of neighbors cannot follow.
        """
        self._dynamics.run(steps)
        self.atoms.positions[:] = self._dynamics.systems.positions.cpu().numpy()
        self.atoms.set_velocities(self._dynamics.velocities.cpu().numpy())
