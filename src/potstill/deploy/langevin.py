"""Langevin dynamics of several systems at once by a student: one call of the student moves all of them by a step.

A small system does not occupy all cores, still less a GPU, and each call has a cost of its own. Systems that move together
share it. On a GPU with the student's kernels, :class:`potstill.student.gpu.dynamics.Dynamics` makes the same steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from ase import units
from ase.data import atomic_masses

from potstill.core.dynamics import timestep_for
from potstill.core.errors import StructureError
from potstill.core.neighbors import VerletList
from potstill.core.types import Array, Labels, Structure
from potstill.core.units import GPA_PER_EV_PER_CUBIC_ANGSTROM
from potstill.deploy.domain_warnings import Watch
from potstill.deploy.student import DeployedStudent

if TYPE_CHECKING:
    from potstill.student.gpu.dynamics import Dynamics
    from potstill.student.gpu.session import GpuStudent

BAROSTAT_PS, BULK_MODULUS_GPA = 0.2, 10.0  # relaxation time of the volume of a material of that bulk modulus
VOLUME_PER_FS = GPA_PER_EV_PER_CUBIC_ANGSTROM / (1000 * BAROSTAT_PS * BULK_MODULUS_GPA)  # 1/fs for each eV/Å^3
LARGEST_SCALING = 0.1  # of the volume in one step


@dataclass(slots=True, eq=False)
class Walker:
    """One system on its way.

    Parameters
    ----------
    structure
        Where its atoms are.
    velocities
        (n, 3) in ASE's unit Å sqrt(amu / eV).
    kelvin
        Temperature of its thermostat in K.
    rng
        Generator of its random numbers, so that they do not depend on the other systems.
    labels
        Energy in eV, forces in eV/Å and expected errors at its positions; None before the first step.
    """

    structure: Structure
    velocities: Array
    kelvin: float
    rng: np.random.Generator
    labels: Labels | None = None

    @property
    def masses(self) -> Array:
        """Return (n, 1) masses in amu."""
        return np.asarray(atomic_masses[self.structure.atomic_numbers])[:, None]

    @property
    def temperature_kelvin(self) -> float:
        """Return the temperature of the velocities in K, with 3n degrees of freedom."""
        return float((self.masses * self.velocities**2).sum() / (3 * len(self.structure) * units.kB))


class Langevin:
    """Systems under a thermostat each, in cells of constant shape, and of constant volume unless a pressure is given.

    A step is that of BAOAB (Leimkuhler and Matthews, Appl. Math. Res. eXpress 2013, 34). Without friction it is that of
    velocity Verlet. The barostat scales cells and atoms by stochastic cell rescaling (Bernetti and Bussi, J. Chem. Phys.
    153, 114107 (2020)), which samples the isothermal-isobaric ensemble.

    Parameters
    ----------
    student
        Student whose forces move the atoms.
    walkers
        Systems with their velocities. They are changed in place.
    timestep_fs
        Length of a step in fs, of which hydrogen in any of the systems takes half.
    friction_per_ps
        Friction of the thermostats in 1/ps.
    pressure_gpa
        Pressure in GPa of the systems periodic in three directions; None: their volume is constant. On a GPU the steps
        then go through the host.
    """

    def __init__(
        self,
        student: DeployedStudent,
        walkers: Sequence[Walker],
        *,
        timestep_fs: float,
        friction_per_ps: float,
        pressure_gpa: float | None = None,
    ) -> None:
        self.student, self.walkers = student, list(walkers)
        self._pressure = None if pressure_gpa is None else pressure_gpa / GPA_PER_EV_PER_CUBIC_ANGSTROM
        self.timestep_fs = min(timestep_for(w.structure.atomic_numbers, timestep_fs) for w in self.walkers)
        self._friction_per_fs = friction_per_ps / 1000
        self._neighbors = {id(w): VerletList(student.cutoff_angstrom) for w in self.walkers}
        self._watch = Watch(student)  # of the domain alone: the caller judges expected errors
        self._card: tuple[list[int], Dynamics] | None = None
        for walker in self.walkers:
            student.refuse_unknown(walker.structure)

    def run(self, steps: int) -> list[Walker]:
        """Make steps, and return the walkers that cannot go on, which are dropped.

        Those have a position that is no number, or two atoms in one place. The labels of the others hold expected errors, if
        the student predicts them.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            on_card = self.student.gpu is not None and self._pressure is None
            failed = self._on_card(steps) if on_card else self._on_host(steps)
        self.drop(failed)
        for walker in self.walkers:
            self._watch(walker.structure, None)
        return failed

    def drop(self, walkers: Sequence[Walker]) -> None:
        """Move these systems no further."""
        gone = {id(w) for w in walkers}
        self.walkers = [w for w in self.walkers if id(w) not in gone]

    def _on_host(self, steps: int) -> list[Walker]:
        step = self.timestep_fs * units.fs
        decay = float(np.exp(-self._friction_per_fs * self.timestep_fs))
        moving = list(self.walkers)
        if any(w.labels is None for w in moving):
            moving = self._labelled(moving, expected=False)
        for number in range(steps):
            moving = [w for w in moving if _moved(w, step, decay)]
            if self._pressure is not None:
                moving = [w for w in moving if _scaled(w, self._pressure, self.timestep_fs)]
            moving = self._labelled(moving, expected=number == steps - 1)
            for walker in moving:
                walker.velocities += _kick(walker, step)
        return _others(self.walkers, moving)

    def _labelled(self, walkers: Sequence[Walker], *, expected: bool) -> list[Walker]:
        """Put labels into the walkers, and return those that have some."""
        found, near = [], []
        for walker in walkers:
            where = walker.structure
            try:
                near.append(self._neighbors[id(walker)](where.positions, where.cell, where.pbc))
                found.append(walker)
            except StructureError:
                continue
        if found:
            known = expected and self.student.uncertainty is not None
            answers = self.student.label([w.structure for w in found], neighbors=near, uncertainty=known)
            for walker, labels in zip(found, answers, strict=True):
                walker.labels = labels
        return found

    def _on_card(self, steps: int) -> list[Walker]:
        moving = list(self.walkers)
        while moving:
            dynamics = self._dynamics_of(moving)
            try:
                dynamics.run(steps)
            except StructureError:  # an atom left its candidates within a step
                self._card = None
                moving.remove(max(moving, key=lambda w: float(np.abs(w.velocities).max())))
                continue
            positions, velocities = (x.cpu().numpy() for x in (dynamics.systems.positions, dynamics.velocities))
            ends = np.cumsum([len(w.structure) for w in moving])[:-1]
            for walker, x, v in zip(moving, np.split(positions, ends), np.split(velocities, ends), strict=True):
                walker.velocities = v
                walker.structure = walker.structure.with_(positions=x) if np.isfinite(x).all() else walker.structure
            moving = self._labelled([w for w in moving if np.isfinite(w.velocities).all()], expected=True)
            break
        return _others(self.walkers, moving)

    def _dynamics_of(self, walkers: Sequence[Walker]) -> Dynamics:
        """Return the dynamics of these walkers on the card: the last one, if they are the same."""
        from potstill.student.gpu.dynamics import Dynamics

        names = [id(w) for w in walkers]
        if self._card is None or self._card[0] != names:
            dynamics = Dynamics(
                cast("GpuStudent", self.student.gpu),
                [w.structure for w in walkers],
                timestep_fs=self.timestep_fs,
                temperature_kelvin=[w.kelvin for w in walkers],
                friction_per_fs=self._friction_per_fs,
                seed=int(walkers[0].rng.integers(2**31)),
            )
            dynamics.velocities.copy_(torch.from_numpy(np.concatenate([w.velocities for w in walkers])))
            self._card = names, dynamics
        return self._card[1]


def _kick(walker: Walker, step: float) -> Array:
    """Return (n, 3) changes of the velocities by half a step."""
    forces = np.zeros(3) if walker.labels is None else walker.labels.forces
    return np.asarray(0.5 * step / walker.masses * forces)


def _moved(walker: Walker, step: float, decay: float) -> bool:
    """Kick half a step, drift half, apply friction and noise, drift half; return whether all positions are numbers."""
    where, width = walker.structure, np.sqrt(units.kB * walker.kelvin / walker.masses * (1.0 - decay**2))
    half = walker.velocities + _kick(walker, step)
    walker.velocities = decay * half + width * walker.rng.normal(size=half.shape)
    try:
        walker.structure = where.with_(positions=where.positions + 0.5 * step * (half + walker.velocities))
    except StructureError:
        return False
    return True


def _scaled(walker: Walker, pressure: float, timestep_fs: float) -> bool:
    """Scale cell, positions and velocities by a step of the barostat; return whether all are numbers.

    The logarithm of the volume V drifts by the pressure less that of the barostat, and diffuses by 2 kT / V, both times the
    rate. Systems that are not periodic in three directions stay as they are.
    """
    where, labels = walker.structure, walker.labels
    if not where.pbc.all() or labels is None or labels.stress is None:
        return True
    volume, kinetic = where.volume, float((walker.masses * walker.velocities**2).sum())
    inside = (kinetic / volume - float(np.trace(labels.stress))) / 3
    rate = VOLUME_PER_FS * timestep_fs
    noise = float(np.sqrt(2 * units.kB * walker.kelvin * rate / volume)) * walker.rng.normal()
    change = float(np.clip(rate * (inside - pressure) + noise, -LARGEST_SCALING, LARGEST_SCALING))
    scale = float(np.exp(change / 3))
    walker.velocities = walker.velocities / scale
    try:
        walker.structure = where.with_(positions=where.positions * scale, cell=where.cell * scale)
    except StructureError:
        return False
    return True


def _others(walkers: Sequence[Walker], moving: Sequence[Walker]) -> list[Walker]:
    known = {id(w) for w in moving}
    return [w for w in walkers if id(w) not in known]
