"""Displacements at a temperature: a structure and its teacher in, the size of thermal displacements out.

A stiff crystal moves less than a soft one at the same temperature. The mean curvature of the teacher's energy tells by how
much. In a harmonic potential with Hessian H, random displacements of standard deviation s per coordinate have the mean
energy s^2 tr(H) / 2. Equipartition gives each of the 3n coordinates k T / 2, so that s^2 = k T / c with c = tr(H) / 3n.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase.units import kB

from potstill.core.types import Labels, Structure, Teacher
from potstill.teacher.messages import as_number

STEP_ANGSTROM = 0.02  # root mean square of a coordinate: small beside bonds, large beside rounding in float32
DIRECTIONS = 2
SOFTEST = 0.5  # eV/Å^2: a structure that is softer, or at no minimum, moves as one of this curvature


class NoCurvatureError(Exception):
    """A structure of which the teacher gives no energy."""


def mean_curvature(structure: Structure, teacher: Teacher, rng: np.random.Generator) -> float:
    """Return the mean eigenvalue of the Hessian in eV/Å^2, by central differences along random directions.

    For a random direction v with independent entries of variance 1, the mean of v . H v is tr(H) (Hutchinson, Commun. Stat.
    Simul. Comput. 19, 433 (1990)).

    Parameters
    ----------
    structure
        Any structure; a slope of the energy cancels.
    teacher
        Is asked twice for each direction, and once for the structure.
    rng
        Random directions.

    Raises
    ------
    NoCurvatureError
        If the teacher refuses a displaced structure, or gives an energy that is no finite number.
    """
    shape = structure.positions.shape
    steps = [STEP_ANGSTROM * rng.normal(size=shape) for _ in range(DIRECTIONS)]
    moved = [structure.with_(positions=structure.positions + sign * step) for step in steps for sign in (1.0, -1.0)]
    first, *others = _energies(teacher, [structure.with_(labels=None), *(s.with_(labels=None) for s in moved)])
    return float((np.mean(others) - first) * 2 / (STEP_ANGSTROM**2 * structure.positions.size))


def displacement_angstrom(curvature: float, temperature_kelvin: float) -> float:
    """Return the standard deviation of each coordinate in Å at a temperature, for a curvature in eV/Å^2."""
    return float(np.sqrt(kB * temperature_kelvin / max(curvature, SOFTEST)))


def _energies(teacher: Teacher, structures: Sequence[Structure]) -> list[float]:
    found = []
    for structure, answer in zip(structures, teacher.label(structures), strict=True):
        if not isinstance(answer, Labels):
            raise NoCurvatureError(
                f"the teacher refuses {structure.id} or a displaced copy: {answer.reason}: {answer.detail}"
            )
        energy = as_number(answer.energy)
        if not (isinstance(energy, int | float) and np.isfinite(energy)):
            name = teacher.fingerprint["name"]
            raise NoCurvatureError(f"the teacher '{name}' gives {structure.id} or a displaced copy the energy {energy!r}")
        found.append(float(energy))
    return found
