"""Displacements and strains, which move a structure away from where it came from.

Takes a structure and random numbers and returns displaced positions or a strain tensor. Used by perturb and trees.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from potstill.core.elements import covalent_radii
from potstill.core.geometry import smallest_scaled_distance
from potstill.core.neighbors import find_pairs
from potstill.core.types import Array, Structure

StrainKind = Literal["symmetric", "shear", "volume"]
SWEEPS = 10
ROUNDING = 1e-9


def draw_strain(kind: StrainKind, largest: float, rng: np.random.Generator) -> Array:
    """Draw a (3, 3) strain tensor, each of its free entries uniformly from ``-largest`` to ``largest``.

    ``symmetric`` has six free entries. It is symmetrised, so that those off the diagonal are means of two draws. ``shear``
    has three, off the diagonal, and keeps the volume to first order. ``volume`` has one, which stands three times on the
    diagonal.
    """
    if kind == "volume":
        return float(rng.uniform(-largest, largest)) * np.eye(3)
    entries = rng.uniform(-largest, largest, size=(3, 3))
    if kind == "shear":
        upper = np.triu(entries, 1)
        return upper + upper.T
    return np.asarray((entries + entries.T) / 2)


def monte_carlo_rattle(
    structure: Structure, sigma_angstrom: float, floor: float, rng: np.random.Generator, sweeps: int = SWEEPS
) -> Array:
    """Displace atoms at random without bringing two atoms closer than a floor.

    The displacement is made in ``sweeps`` Gaussian steps of all atoms. In each step the atoms of every pair that would come
    too close do not move. This is a rejection as in ``mc_rattle`` of hiPhive (Eriksson, Fransson and Erhart, Adv. Theory
    Simul. 2, 1800184 (2019)), with a sharp floor and for all atoms at once.

    Parameters
    ----------
    structure
        Structure to displace; it is not changed.
    sigma_angstrom
        Standard deviation of each coordinate in Å, if no step is rejected.
    floor
        Smallest distance over the sum of covalent radii. Atoms that are closer already keep their closest distance as the
        floor.
    rng
        Random numbers.
    sweeps
        Number of steps.

    Returns
    -------
    Array
        Positions (n, 3) in Å.
    """
    radii = covalent_radii()[structure.atomic_numbers]
    limit = min(floor, smallest_scaled_distance(structure)[0]) - ROUNDING
    positions = structure.positions
    for _ in range(sweeps):
        step = rng.normal(0.0, sigma_angstrom / np.sqrt(sweeps), size=positions.shape)
        moving = np.ones(len(structure), bool)
        while moving.any():
            pairs, distance = find_pairs(positions + step, structure.cell, structure.pbc, 2 * limit * float(radii.max()))
            close = np.zeros_like(moving)
            close[pairs[distance < limit * (radii[pairs[:, 0]] + radii[pairs[:, 1]])]] = True
            if not (close & moving).any():
                break
            moving &= ~close
            step[close] = 0.0
        positions = positions + step
    return positions
