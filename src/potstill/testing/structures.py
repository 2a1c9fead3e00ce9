"""Tiny structures of every kind that breaks code: molecules, crystals, slabs, odd cells, single atoms."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase.build import bulk, fcc111, molecule

from potstill.core.types import Structure

ALL_AXES = (True, True, True)


def water() -> Structure:
    """Return H2O: 3 atoms, no cell."""
    positions = [[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]]
    return Structure(np.array([8, 1, 1]), np.array(positions), **_names("water"))


def ethanol() -> Structure:
    """Return C2H6O: 9 atoms, no cell."""
    return Structure.from_ase(molecule("CH3CH2OH"), **_names("ethanol"))


def one_atom() -> Structure:
    """Return one atom of argon: no cell, no neighbors."""
    return Structure(np.array([18]), np.zeros((1, 3)), **_names("one_atom"))


def lone_crystal() -> Structure:
    """Return one atom of argon in a periodic cell of 20 Å: no neighbors within any usual cutoff."""
    return Structure(np.array([18]), np.full((1, 3), 0.3), 20.0 * np.eye(3), np.array(ALL_AXES), **_names("lone_crystal"))


def rocksalt() -> Structure:
    """Return NaCl: the primitive cell of 2 atoms, smaller than any cutoff."""
    return Structure.from_ase(bulk("NaCl", "rocksalt", a=5.64), **_names("rocksalt"))


def silicon() -> Structure:
    """Return diamond silicon: the primitive cell of 2 atoms."""
    return Structure.from_ase(bulk("Si", "diamond", a=5.43), **_names("silicon"))


def copper() -> Structure:
    """Return copper: the cubic cell of 4 atoms."""
    return Structure.from_ase(bulk("Cu", "fcc", a=3.61, cubic=True), **_names("copper"))


def slab() -> Structure:
    """Return three layers of Cu(111), periodic along two axes."""
    return Structure.from_ase(fcc111("Cu", (1, 1, 3), vacuum=6.0), **_names("slab"))


def wire() -> Structure:
    """Return a zigzag chain of carbon, periodic along the third axis; the other lattice vectors are zero."""
    positions = np.array([[0.0, 0.0, 0.0], [0.7, 0.0, 1.25]])
    cell = np.diag([0.0, 0.0, 2.5])
    return Structure(np.array([6, 6]), positions, cell, np.array([False, False, True]), **_names("wire"))


def triclinic() -> Structure:
    """Return two Mg and two O in a triclinic cell; one atom lies outside the cell."""
    cell = np.array([[3.1, 0.0, 0.0], [0.9, 3.7, 0.0], [-0.6, 1.1, 4.9]])
    fractions = np.array([[0.02, 0.05, 0.01], [0.48, 0.55, 0.27], [0.97, 0.03, 0.52], [1.53, -0.52, 0.74]])
    return Structure(np.array([12, 8, 12, 8]), fractions @ cell, cell, np.array(ALL_AXES), **_names("triclinic"))


def left_handed() -> Structure:
    """Return the triclinic cell with two lattice vectors exchanged: its determinant is negative."""
    structure = triclinic()
    return structure.with_(cell=structure.cell[[1, 0, 2]], **_names("left_handed"))


def rattled(structure: Structure, seed: int = 0, sigma_angstrom: float = 0.05) -> Structure:
    """Return a copy with Gaussian displacements, so that no force vanishes by symmetry."""
    displacement = np.random.default_rng(seed).normal(0.0, sigma_angstrom, structure.positions.shape)
    return structure.with_(positions=structure.positions + displacement, id=f"{structure.id}-{seed}")


def all_structures() -> list[Structure]:
    """Return every structure of this module."""
    makers = (water, ethanol, one_atom, lone_crystal, rocksalt, silicon, copper, slab, wire, triclinic, left_handed)
    return [make() for make in makers]


def _names(name: str) -> dict[str, Any]:
    return {"id": name, "source": "testing", "family": name}
