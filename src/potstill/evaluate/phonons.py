"""Phonons of a crystal by finite displacements (phonopy), both models at the same geometry.

Needs the extra ``phonons``.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from potstill.core.errors import PotstillError
from potstill.core.registry import borrow
from potstill.core.types import Array
from potstill.evaluate.measured import Curve, Row, of

DISPLACEMENT_ANGSTROM = 0.03
SUPERCELL_ANGSTROM, MOST_ATOMS = 8.0, 96
MOST_DISPLACEMENTS, MOST_IN_BOTH_DIRECTIONS = 200, 60  # beyond the second number, each goes in one direction only
MESH, BAND_POINTS, SYMMETRY_ANGSTROM, KELVIN = 6, 60, 1e-3, 300.0
LOWEST_THZ = -0.5  # lowest frequency: below, the crystal is no minimum; imaginary frequencies count as negative
SUBSCRIPTS = "₀₁₂₃₄₅₆₇₈₉"


def phonons(candidate: Any, reference: Any, crystal: Any) -> list[Row]:
    """Compare frequencies on a mesh: mean absolute gap over the mean of the reference, with bands and heat capacity.

    A crystal that is a minimum of the reference and none of the candidate has an infinite gap.
    """
    try:
        borrow("phonopy", "phonons", "phonons")
    except PotstillError as error:
        return [Row("phonons", None, why=str(error))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # phonopy's warnings about symmetries that supercells and meshes lack
        return _compared(candidate, reference, crystal)


def lowest_frequency(calculator: Any, crystal: Any, most_displacements: int) -> float | None:
    """Return the lowest frequency on the mesh in THz, imaginary ones as negative.

    The value is NaN where more than ``most_displacements`` displacements are needed, and None without phonopy.
    """
    try:
        borrow("phonopy", "phonons", "phonons")
    except PotstillError:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        phonon, _ = _phonopy(crystal, _repeats(crystal), calculator, most_displacements)
        return float("nan") if phonon is None else float(_on_mesh(phonon).min())


def _compared(candidate: Any, reference: Any, crystal: Any) -> list[Row]:
    repeats = _repeats(crystal)
    (mine, count), (theirs, _) = (_phonopy(crystal, repeats, c) for c in (candidate, reference))
    if mine is None or theirs is None:
        atoms = int(np.prod(repeats)) * len(crystal)
        why = f"{count} displacements in {atoms} atoms are too many: a smaller crystal is needed"
        return [Row("phonons", None, why=why)]
    frequencies = [_on_mesh(p) for p in (mine, theirs)]
    measured, why = 100 * float(np.abs(frequencies[0] - frequencies[1]).mean() / np.abs(frequencies[1]).mean()), ""
    lowest = [float(f.min()) for f in frequencies]
    if lowest[0] < LOWEST_THZ <= lowest[1]:  # a mean over all frequencies hardly shows it
        measured, why = math.inf, f"unstable: lowest frequency {lowest[0]:.2f} THz, of the reference {lowest[1]:.2f} THz; "
    path = crystal.cell.bandpath(npoints=BAND_POINTS)
    bands = [_along(p, path.kpts) for p in (mine, theirs)]
    along, *special = path.get_linear_kpoint_axis()
    marks = special_points(*special)
    curves = {
        f"band {k + 1}": Curve("wave vector, 1/Å", "frequency, THz", along, bands[0][:, k], bands[1][:, k], marks)
        for k in range(bands[0].shape[1])
    }
    figures = [_figures(p, f) for p, f in zip((mine, theirs), frequencies, strict=True)]
    return [Row("phonons", measured, figures[0], figures[1], curves=curves, why=f"{why}{count} displacements")]


def special_points(places: Array, names: Sequence[str]) -> list[tuple[float, str]]:
    """Return the special points of a path as they are written on an axis: ``G`` as Γ, two at a jump as ``U|K``.

    Parameters
    ----------
    places
        (k,) places along the path, in 1/Å; equal ones belong to a jump.
    names
        k names as ASE writes them.
    """
    marks: list[tuple[float, str]] = []
    for place, name in zip(places, names, strict=True):
        text = re.sub(r"\d", lambda digit: SUBSCRIPTS[int(digit[0])], "Γ" + name[1:] if name[:1] == "G" else name)
        if marks and np.isclose(marks[-1][0], place):
            marks[-1] = (marks[-1][0], f"{marks[-1][1]}|{text}")
        else:
            marks.append((float(place), text))
    return marks


def _phonopy(crystal: Any, repeats: list[int], calculator: Any, most: int = MOST_DISPLACEMENTS) -> tuple[Any, int]:
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    cell = PhonopyAtoms(symbols=list(crystal.symbols), positions=crystal.positions, cell=np.array(crystal.cell))
    phonon = Phonopy(cell, np.diag(repeats), primitive_matrix="P", symprec=SYMMETRY_ANGSTROM, log_level=0)
    phonon.generate_displacements(distance=DISPLACEMENT_ANGSTROM)
    if len(phonon.supercells_with_displacements or []) > MOST_IN_BOTH_DIRECTIONS:  # a crystal of little symmetry
        phonon.generate_displacements(distance=DISPLACEMENT_ANGSTROM, is_plusminus=False)
    displaced = phonon.supercells_with_displacements or []
    if len(displaced) > most:
        return None, len(displaced)
    phonon.forces = [_forces(supercell, calculator) for supercell in displaced]
    phonon.produce_force_constants()
    phonon.symmetrize_force_constants()
    return phonon, len(displaced)


def _forces(cell: Any, calculator: Any) -> Array:
    from ase import Atoms

    atoms = Atoms(cell.symbols, positions=cell.positions, cell=cell.cell, pbc=True)
    return np.asarray(of(atoms, calculator).get_forces())


def _repeats(crystal: Any) -> list[int]:
    """Return the number of cells along each axis: 8 Å if the number of atoms allows it."""
    repeats = [max(1, int(np.ceil(SUPERCELL_ANGSTROM / length - 0.1))) for length in crystal.cell.lengths()]
    while len(crystal) * np.prod(repeats) > MOST_ATOMS and max(repeats) > 1:
        lengths = [n * length if n > 1 else 0.0 for n, length in zip(repeats, crystal.cell.lengths(), strict=True)]
        repeats[int(np.argmax(lengths))] -= 1
    return repeats


def _on_mesh(phonon: Any) -> Array:
    phonon.run_mesh([MESH] * 3)
    return np.asarray(phonon.mesh.frequencies)


def _along(phonon: Any, wave_vectors: Array) -> Array:
    phonon.run_qpoints(wave_vectors)
    return np.asarray(phonon.qpoints.frequencies)


def _figures(phonon: Any, frequencies: Array) -> dict[str, float]:
    phonon.run_thermal_properties(temperatures=[KELVIN])
    capacity = float(np.asarray(phonon.thermal_properties.heat_capacity)[0])
    atoms = len(phonon.primitive)
    return {
        "lowest, THz": float(frequencies.min()),
        "highest, THz": float(frequencies.max()),
        "heat capacity at 300 K, J/K/mol of atoms": capacity / atoms,
    }
