"""Molecular dynamics that several stages run: velocities, Langevin dynamics, repeated cells."""

from __future__ import annotations

from typing import Any

import numpy as np

from potstill.core.lattice import has_lattice
from potstill.core.supercells import as_repeated, with_distant_images
from potstill.core.types import Array, Structure

SMALLEST_CRYSTAL = 32
EXPLODED = 10.0  # times the temperature of the thermostat; canonical fluctuations of two atoms reach half of that


def timestep_for(atomic_numbers: Array, timestep_fs: float) -> float:
    """Return the time step in fs for (n,) elements: hydrogen, the fastest atom, halves it."""
    return timestep_fs / 2 if 1 in atomic_numbers else timestep_fs


def langevin(
    atoms: Any, kelvin: float, *, timestep_fs: float, friction_per_ps: float, rng: np.random.Generator
) -> tuple[Any, float]:
    """Return ASE's Langevin dynamics of ``Atoms`` with a calculator, and its time step in fs, which hydrogen halves."""
    from ase import units
    from ase.md.langevin import Langevin

    timestep = timestep_for(atoms.numbers, timestep_fs)
    friction = friction_per_ps / (1000 * units.fs)
    return Langevin(atoms, timestep * units.fs, temperature_K=kelvin, friction=friction, fixcm=False, rng=rng), timestep


def draw_velocities(atoms: Any, temperature_kelvin: float, rng: np.random.Generator, *, exact: bool = True) -> None:
    """Draw Maxwell-Boltzmann velocities for ASE ``Atoms``.

    Parameters
    ----------
    atoms
        Atoms that get the velocities.
    temperature_kelvin
        Temperature of the distribution in K.
    rng
        Generator of the random numbers.
    exact
        True: the total momentum is removed, and the velocities are scaled to exactly that temperature. False: they stay as
        drawn, which is a state of the canonical ensemble; so do those of a lone atom, of which nothing else is left.
    """
    from ase import units
    from ase.md.velocitydistribution import Stationary, force_temperature

    spread = np.sqrt(units.kB * temperature_kelvin * atoms.get_masses())
    atoms.set_momenta(spread[:, None] * rng.standard_normal((len(atoms), 3)))
    if exact and len(atoms) > 1:
        Stationary(atoms, preserve_temperature=False)
        force_temperature(atoms, temperature_kelvin)


def repeat_crystal(
    structure: Structure,
    smallest: int = SMALLEST_CRYSTAL,
    largest: int | None = None,
    image_angstrom: float = 0.0,
) -> Structure:
    """Repeat a crystal until its periodic images are far enough, and then along its shortest axis until it has enough atoms.

    Parameters
    ----------
    structure
        Crystal, which keeps its names and metadata. Any other structure is returned unchanged, and so is a crystal that has
        enough atoms.
    smallest
        Number of atoms that are enough.
    largest
        Number of atoms that no repetition exceeds, also where fewer than ``smallest`` are reached; None for no limit.
    image_angstrom
        Smallest distance of an atom to its own images in Å, as far as ``largest`` allows; also for slabs and wires. Liquids
        and glasses are not repeated for it: their atoms have many environments in any cell.
    """
    repeated = structure
    if image_angstrom and (not structure.pbc.all() or _ordered(structure)):
        repeated = with_distant_images(structure, image_angstrom, largest)
    limit = np.inf if largest is None else largest
    while repeated.pbc.all() and len(repeated) < smallest and 2 * len(repeated) <= limit:
        times = [1, 1, 1]
        times[int(np.argmin(np.linalg.norm(repeated.cell, axis=1)))] = 2
        repeated = as_repeated(repeated, repeated.to_ase().repeat(times))
    return repeated


def _ordered(structure: Structure) -> bool:
    return has_lattice(structure.atomic_numbers, structure.positions, np.asarray(structure.cell))
