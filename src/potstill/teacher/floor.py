"""The part of a teacher's forces that no potential can reproduce: the error floor of every conservative student.

Takes a teacher and some structures and returns the root mean square of that part over force components, in eV/Å. It is zero,
up to rounding, for a teacher whose forces are the negative gradient of an energy.

Three parts are measured. A potential that is invariant to translation and rotation has no *net force* and, for a molecule,
no *net torque*. Their least share of the forces is the projection on rigid translations and rotations. The derivative of a
potential's forces is also symmetric. Near a structure forces are F(x + d) = F(x) + (S + A) d with a symmetric matrix S and
an antisymmetric one A. Averaged over displacements d with independent Gaussian components of width sigma, A d is orthogonal
to the gradient of any function phi,

    E[(A d) . grad phi] = -E[phi (tr A - d . A d / sigma^2)] = 0,

since both terms vanish for an antisymmetric matrix. The best potential therefore reproduces all of S d and nothing of A d.
The rest is the *curl* sqrt(E |A d|^2 / 3n) = sigma |A| / sqrt(3n) with the Frobenius norm |A|. That norm is estimated from a
few random directions v. Over pairs of Gaussian directions, u . A v = (u . J v - v . J u) / 2 has the mean square |A|^2, and
J v is a central difference of forces. sigma is the distance over which the potential is fitted: that of the rattles and
motions in a dataset. The floor holds to first order in the displacements, and for displacements that are independent of each
other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from potstill.core.errors import InputError
from potstill.core.types import Array, Labels, Structure, Teacher

LEAST_INERTIA = 1e-6  # Å^2: smaller moments have no rotation (the axis of a linear molecule)


@dataclass(frozen=True, slots=True)
class ForceFloor:
    """Part of the forces that no potential can reproduce: root mean squares over force components in eV/Å.

    Parameters
    ----------
    structures
        Number of structures measured; those that the teacher refuses are left out.
    net_force
        Net force, spread evenly over the atoms.
    net_torque
        Net torque of molecules; for other structures it is not defined and counts as zero.
    curl
        Antisymmetric part of the derivative, over displacements of ``sigma_angstrom`` per coordinate.
    curl_error
        Standard error of ``curl`` over the structures.
    forces
        Forces themselves, for comparison.
    sigma_angstrom
        Width of the displacements in Å.
    """

    structures: int
    net_force: float
    net_torque: float
    curl: float
    curl_error: float
    forces: float
    sigma_angstrom: float

    @property
    def total(self) -> float:
        """Return the root of the sum of squares: the error in eV/Å that a perfect conservative student still has."""
        return float(np.sqrt(self.net_force**2 + self.net_torque**2 + self.curl**2))

    def report(self) -> dict[str, Any]:
        """Return the figures as in ``evaluate.json``."""
        figures = {
            name: getattr(self, name) for name in ("total", "net_force", "net_torque", "curl", "curl_error", "forces")
        }
        known = {name: value if np.isfinite(value) else None for name, value in figures.items()}
        return {**known, "structures": self.structures, "sigma_angstrom": self.sigma_angstrom, "unit": "eV/Å"}

    def __str__(self) -> str:
        return (
            f"net force {self.net_force:.2g}, net torque {self.net_torque:.2g}, curl {self.curl:.2g} ± {self.curl_error:.1g}"
            f" over displacements of {self.sigma_angstrom:g} Å, where the forces are {self.forces:.2g} eV/Å "
            f"(rms, {self.structures} structures)"
        )


def force_floor(
    teacher: Teacher,
    structures: Sequence[Structure],
    *,
    sigma_angstrom: float = 0.05,
    directions: int = 8,
    step_angstrom: float = 2e-3,
    seed: int = 0,
) -> ForceFloor:
    """Measure on a sample the part of a teacher's forces that no potential can reproduce.

    Parameters
    ----------
    teacher
        Teacher, called for ``1 + 2 directions`` geometries of each structure.
    structures
        Sample of the structures to label.
    sigma_angstrom
        Width of the displacements over which a potential is fitted, in Å; the curl is proportional to it.
    directions
        Number of random directions of each structure; their pairs are averaged.
    step_angstrom
        Step of the central differences per coordinate, in Å. Their error grows with its square, and that of rounding forces
        in float32 with its inverse.
    seed
        Seed of the directions.

    Raises
    ------
    InputError
        If the teacher labels none of the structures with all of their displaced copies.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for structure in structures:
        ways = rng.normal(size=(directions, len(structure), 3))
        moved = [structure.with_(positions=structure.positions + s * step_angstrom * v) for v in ways for s in (1, -1)]
        answers = [answer for answer in teacher.label([structure, *moved]) if isinstance(answer, Labels)]
        if len(answers) == 1 + len(moved):
            forces = np.array([np.asarray(a.forces, dtype=np.float64) for a in answers])
            slopes = (forces[1::2] - forces[2::2]) / (2 * step_angstrom)
            rows.append(
                (
                    np.mean(forces[0] ** 2),
                    np.sum(forces[0].sum(axis=0) ** 2) / (3 * len(structure) ** 2),
                    _torque_share(structure, forces[0]),
                    sigma_angstrom**2 * _antisymmetric_norm_squared(ways, slopes) / (3 * len(structure)),
                )
            )
    if not rows:
        raise InputError("the teacher labels none of the structures, so the error floor of its forces cannot be measured")
    squares = np.array(rows)
    mean = squares.mean(axis=0)
    error = squares[:, 3].std(ddof=1) / np.sqrt(len(rows)) if len(rows) > 1 else np.nan
    return ForceFloor(
        structures=len(rows),
        net_force=float(np.sqrt(mean[1])),
        net_torque=float(np.sqrt(mean[2])),
        curl=float(np.sqrt(mean[3])),
        curl_error=float(error / (2 * np.sqrt(mean[3]))) if mean[3] > 0 else 0.0,
        forces=float(np.sqrt(mean[0])),
        sigma_angstrom=sigma_angstrom,
    )


def _antisymmetric_norm_squared(ways: Array, slopes: Array) -> float:
    """Estimate |A|^2 from random directions v and the change of the forces along each, J v."""
    pairs = np.einsum("aij,bij->ab", ways, slopes)
    return float(np.mean([((pairs[a, b] - pairs[b, a]) / 2) ** 2 for a, b in combinations(range(len(ways)), 2)]))


def _torque_share(structure: Structure, forces: Array) -> float:
    """Return the mean square over components of the rigid-rotation forces that have a molecule's net torque."""
    if structure.pbc.any():
        return 0.0
    arms = structure.positions - structure.positions.mean(axis=0)
    torque = np.cross(arms, forces - forces.mean(axis=0)).sum(axis=0)
    moments, axes = np.linalg.eigh(np.sum(arms**2) * np.eye(3) - arms.T @ arms)
    turns = moments > LEAST_INERTIA
    return float(np.sum((axes.T @ torque)[turns] ** 2 / moments[turns]) / (3 * len(structure)))
