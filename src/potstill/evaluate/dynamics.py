"""Constant-energy molecular dynamics with the student: it must stay finite and conserve the energy."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from potstill.core.dynamics import draw_velocities, repeat_crystal, timestep_for
from potstill.core.types import Array, Structure
from potstill.evaluate.model import Model

RELAX_STEPS = 200
RELAX_FMAX = 0.05
TIMESTEP_FS = 1.0
RECORDS = 200
FRAME_EVERY = 2  # records


@dataclass(frozen=True, slots=True, eq=False)
class Trajectory:
    """One run of molecular dynamics.

    Parameters
    ----------
    system, kind
        Id of the structure it started from, and ``crystal`` or ``molecule``.
    atoms, steps, timestep_fs
        Number of atoms, number of steps, and length of a step in fs.
    time_ps, total_energy, temperature
        (T,) record of the run: time in ps, energy in eV per atom, temperature in K.
    seconds
        Wall time of the steps in s.
    final
        The last structure.
    frames
        (F, n, 3) positions in Å at every second record; None where they were not kept.
    """

    system: str
    kind: str
    atoms: int
    steps: int
    timestep_fs: float
    time_ps: Array
    total_energy: Array
    temperature: Array
    seconds: float
    final: Structure
    frames: Array | None = None

    @property
    def finite(self) -> bool:
        """Return whether every recorded number is finite."""
        return bool(np.isfinite(self.total_energy).all() and np.isfinite(self.temperature).all())

    @property
    def drift_mev_per_atom(self) -> float:
        """Return the slope of a straight line through the total energy times the length of the run, in meV/atom."""
        slope = np.polyfit(self.time_ps, self.total_energy, 1)[0] if self.finite else np.inf
        return float(abs(slope) * (self.time_ps[-1] - self.time_ps[0]) * 1e3)

    @property
    def residual_mev_per_atom(self) -> float:
        """Return the root mean square distance of the total energy from that straight line, in meV/atom."""
        if not self.finite:
            return np.inf
        line = np.polyval(np.polyfit(self.time_ps, self.total_energy, 1), self.time_ps)
        return float(np.sqrt(np.mean((self.total_energy - line) ** 2)) * 1e3)

    @property
    def largest_deviation_mev_per_atom(self) -> float:
        """Return the largest distance of the total energy from its first value, in meV/atom."""
        return float(np.abs(self.total_energy - self.total_energy[0]).max() * 1e3) if self.finite else np.inf

    def report(self) -> dict[str, Any]:
        """Return the row of ``evaluate.json``."""
        length = float(self.time_ps[-1])
        return {
            "system": self.system,
            "kind": self.kind,
            "atoms": self.atoms,
            "steps": self.steps,
            "timestep_fs": self.timestep_fs,
            "drift_mev_per_atom": self.drift_mev_per_atom if self.finite else None,
            "drift_mev_per_atom_per_ns": self.drift_mev_per_atom / length * 1e3 if self.finite else None,
            "residual_mev_per_atom": self.residual_mev_per_atom if self.finite else None,
            "largest_deviation_mev_per_atom": self.largest_deviation_mev_per_atom if self.finite else None,
            "mean_temperature_kelvin": float(self.temperature.mean()) if self.finite else None,
            "finite": self.finite,
            "steps_per_second": self.steps / self.seconds,
        }


def run_nve(student: Model, structure: Structure, *, length_ps: float, temperature_kelvin: float, seed: int) -> Trajectory:
    """Relax with the student, draw velocities, and integrate Newton's equations (velocity Verlet).

    Small crystals are repeated to at least 32 atoms, so that the cell contains more than one phonon.

    Parameters
    ----------
    student
        Model that computes the forces.
    structure
        Structure at the start; its own positions are not changed.
    length_ps, temperature_kelvin
        Length of the run in ps, and temperature of the initial Maxwell-Boltzmann velocities in K.
    seed
        Seed of the velocities.
    """
    from ase import units
    from ase.md.verlet import VelocityVerlet
    from ase.optimize import FIRE

    atoms = repeat_crystal(structure).to_ase()
    atoms.calc = student.calculator()
    FIRE(atoms, logfile=None).run(fmax=RELAX_FMAX, steps=RELAX_STEPS)
    draw_velocities(atoms, temperature_kelvin, np.random.default_rng(seed))
    timestep = timestep_for(structure.atomic_numbers, TIMESTEP_FS)
    steps = max(1, round(length_ps * 1e3 / timestep))
    times, energies, temperatures, frames = [], [], [], []
    dynamics = VelocityVerlet(atoms, timestep=timestep * units.fs)

    def record() -> None:
        times.append(dynamics.nsteps * timestep * 1e-3)
        energies.append(atoms.get_total_energy() / len(atoms))
        temperatures.append(atoms.get_temperature())
        if len(times) % FRAME_EVERY == 1:
            frames.append(atoms.get_positions())

    dynamics.attach(record, interval=max(1, steps // RECORDS))
    started = perf_counter()
    dynamics.run(steps)
    return Trajectory(
        system=structure.id,
        kind="crystal" if structure.pbc.any() else "molecule",
        atoms=len(atoms),
        steps=steps,
        timestep_fs=timestep,
        time_ps=np.array(times),
        total_energy=np.array(energies),
        temperature=np.array(temperatures),
        seconds=perf_counter() - started,
        final=Structure.from_ase(atoms, id=structure.id),
        frames=np.array(frames),
    )
