"""Langevin dynamics of ASE ``Atoms`` by a student: on the GPU where the student's kernels are there, else by ASE."""

from __future__ import annotations

from typing import Any

import numpy as np

from potstill.core.dynamics import langevin, timestep_for
from potstill.core.types import Structure
from potstill.deploy.student import DeployedStudent


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
    return _OnDevice(student, atoms, kelvin, timestep, friction_per_ps, int(rng.integers(2**31))), timestep


class _OnDevice:
    """Atoms that move on the GPU; ASE's ``Atoms`` receive positions and velocities after each :meth:`run`."""

    def __init__(
        self, student: DeployedStudent, atoms: Any, kelvin: float, timestep_fs: float, friction_per_ps: float, seed: int
    ) -> None:
        import torch

        from potstill.student.gpu.dynamics import Dynamics

        structure = Structure.from_ase(atoms)
        student.refuse_unknown(structure)
        if student.gpu is None:
            raise ValueError("a student without the kernels of a GPU: this is a bug")
        self.atoms = atoms
        self._dynamics = Dynamics(
            student.gpu,
            [structure],
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
