"""Molecular dynamics that several stages run: velocities, Langevin dynamics, repeated cells."""

from __future__ import annotations

from typing import Any

import numpy as np

from potstill.core.types import Structure

SMALLEST_CRYSTAL = 32
EXPLODED = 10.0  # times the temperature of the thermostat; canonical fluctuations of two atoms reach half of that


def langevin(
    atoms: Any, kelvin: float, *, timestep_fs: float, friction_per_ps: float, rng: np.random.Generator
) -> tuple[Any, float]:
    """Return ASE's Langevin dynamics of ``Atoms`` with a calculator, and its time step in fs, which hydrogen halves."""
    from ase import units
    from ase.md.langevin import Langevin

    timestep = timestep_fs / (2 if 1 in atoms.numbers else 1)
    friction = friction_per_ps / (1000 * units.fs)
    return Langevin(atoms, timestep * units.fs, temperature_K=kelvin, friction=friction, fixcm=False, rng=rng), timestep


def draw_velocities(atoms: Any, temperature_kelvin: float, rng: np.random.Generator) -> None:
    """Draw Maxwell-Boltzmann velocities for ASE ``Atoms``, without total momentum and scaled to exactly that temperature."""
    from ase import units
    from ase.md.velocitydistribution import Stationary, force_temperature

    spread = np.sqrt(units.kB * temperature_kelvin * atoms.get_masses())
    atoms.set_momenta(spread[:, None] * rng.standard_normal((len(atoms), 3)))
    Stationary(atoms, preserve_temperature=False)
    force_temperature(atoms, temperature_kelvin)


def enlarge(structure: Structure, smallest: int = SMALLEST_CRYSTAL) -> Structure:
    """Return a crystal repeated along its shortest axis until it has enough atoms, or a molecule unchanged."""
    if not structure.pbc.all():
        return structure
    atoms = structure.to_ase()
    while len(atoms) < smallest:
        repeat = [1, 1, 1]
        repeat[int(np.argmin(atoms.cell.lengths()))] = 2
        atoms = atoms.repeat(repeat)
    return Structure.from_ase(atoms, id=structure.id, source=structure.source, family=structure.family)


def repeat_crystal(structure: Structure, smallest: int, largest: int) -> Structure:
    """Repeat a crystal along its shortest axis while it has fewer atoms than ``smallest``, up to ``largest`` atoms.

    The crystal keeps its names. Any other structure is returned unchanged.
    """
    repeated = structure
    while repeated.pbc.all() and len(repeated) < smallest and 2 * len(repeated) <= largest:
        times = [1, 1, 1]
        times[int(np.argmin(np.linalg.norm(repeated.cell, axis=1)))] = 2
        atoms = repeated.to_ase().repeat(times)
        repeated = repeated.with_(
            atomic_numbers=atoms.numbers, positions=atoms.positions, cell=np.array(atoms.cell), labels=None
        )
    return repeated
