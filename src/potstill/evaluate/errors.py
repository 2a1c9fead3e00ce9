"""Errors of a student against its teacher, and the errors of predicting zero.

Takes labels of teacher and student and returns the figures of ``evaluate.json``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from potstill.core.elements import symbols_of
from potstill.core.types import Array, Labels, Structure

MAGNITUDES_EV_PER_ANGSTROM = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0, np.inf)
SMALLEST_DIRECTED_FORCE = 0.1  # eV/Å; the direction of smaller forces is not compared
ZERO_FORCE = 1e-6  # eV/Å; means below are zeros by symmetry up to rounding, and no ratio to them says anything


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Teacher's and student's labels of the same S structures with N atoms.

    Parameters
    ----------
    structures
        Structures labelled by the teacher.
    student
        Labels by the student, in the same order.
    """

    structures: Sequence[Structure]
    student: Sequence[Labels]

    @property
    def teacher(self) -> list[Labels]:
        """Return the labels by the teacher."""
        return [s.labels for s in self.structures if s.labels is not None]

    @property
    def sources(self) -> Array:
        """Return (S,) names of the sources."""
        return np.array([s.source for s in self.structures])

    @property
    def atoms(self) -> Array:
        """Return (S,) numbers of atoms per structure."""
        return np.array([len(s) for s in self.structures])

    @property
    def atomic_numbers(self) -> Array:
        """Return (N,) atomic numbers."""
        return np.concatenate([s.atomic_numbers for s in self.structures])

    def forces(self) -> tuple[Array, Array]:
        """Return (N, 3) forces by the teacher and by the student, in eV/Å."""
        return np.concatenate([x.forces for x in self.teacher]), np.concatenate([x.forces for x in self.student])

    def expectations(self) -> tuple[Array, Array]:
        """Return (N,) lengths of the force's error that the student expects, and the true ones, in eV/Å."""
        teacher, student = self.forces()
        return np.concatenate([x.extra["uncertainty"] for x in self.student]), np.linalg.norm(student - teacher, axis=1)

    def energies(self) -> tuple[Array, Array]:
        """Return (S,) energies per atom by the teacher and by the student, in eV."""
        return (
            np.array([x.energy for x in self.teacher]) / self.atoms,
            np.array([x.energy for x in self.student]) / self.atoms,
        )

    def stresses(self) -> tuple[Array, Array]:
        """Return (P, 3, 3) stresses by the teacher and by the student in eV/Å^3, for the P periodic structures."""
        pairs = [
            (a.stress, b.stress)
            for a, b in zip(self.teacher, self.student, strict=True)
            if a.stress is not None and b.stress is not None
        ]
        if not pairs:
            return np.zeros((0, 3, 3)), np.zeros((0, 3, 3))
        return np.stack([a for a, _ in pairs]), np.stack([b for _, b in pairs])

    def subset(self, chosen: Array) -> Comparison:
        """Return the comparison of some of the structures."""
        return Comparison([self.structures[k] for k in chosen], [self.student[k] for k in chosen])


def summary(comparison: Comparison, mean_energy_baseline: Array) -> dict[str, Any]:
    """Return errors of forces, energy and stress beside two baselines.

    Parameters
    ----------
    comparison
        Labels of both, for at least one structure.
    mean_energy_baseline
        (S,) energy per atom in eV that the composition alone predicts (reference energies fitted to the training part); NaN
        where nothing predicts it.

    Returns
    -------
    dict
        ``forces``, ``energy``, ``stress`` where both have one, and ``stress_lacking``, the number of structures of which
        only the teacher has one.
    """
    teacher, student = comparison.forces()
    force_error = np.abs(student - teacher)
    zero = float(np.abs(teacher).mean())
    energy_teacher, energy_student = comparison.energies()
    gaps = np.abs(mean_energy_baseline - energy_teacher)
    gaps = gaps[~np.isnan(gaps)]
    stress_teacher, stress_student = comparison.stresses()
    report: dict[str, Any] = {
        "structures": len(comparison.structures),
        "forces": {
            "mae": float(force_error.mean()),
            "rmse": float(np.sqrt((force_error**2).mean())),
            "zero_baseline_mae": zero,
            "ratio_to_zero_baseline": float(force_error.mean()) / zero if zero > ZERO_FORCE else None,
            "slope": float((student * teacher).sum() / (teacher**2).sum()) if zero > ZERO_FORCE else None,
            "mean_cosine": _mean_cosine(teacher, student),
            "unit": "eV/Å",
        },
        "energy": {
            "mae_per_atom": float(np.abs(energy_student - energy_teacher).mean()),
            "rmse_per_atom": float(np.sqrt(((energy_student - energy_teacher) ** 2).mean())),
            "mean_baseline_mae_per_atom": float(gaps.mean()) if gaps.size else 0.0,
            "unit": "eV/atom",
        },
    }
    both = zip(comparison.teacher, comparison.student, strict=True)
    lacking = sum(a.stress is not None and b.stress is None for a, b in both)
    if lacking:
        report["stress_lacking"] = lacking
    if len(stress_teacher):
        report["stress"] = {
            "mae": float(np.abs(stress_student - stress_teacher).mean()),
            "zero_baseline_mae": float(np.abs(stress_teacher).mean()),
            "unit": "eV/Å^3",
        }
    return report


def by_magnitude(comparison: Comparison) -> list[dict[str, Any]]:
    """Return force errors of atoms by the size of the teacher's force on them."""
    teacher, student = comparison.forces()
    size = np.linalg.norm(teacher, axis=1)
    error = np.abs(student - teacher).mean(axis=1)
    rows = []
    for low, high in pairwise(MAGNITUDES_EV_PER_ANGSTROM):
        chosen = (size >= low) & (size < high)
        if chosen.any():
            rows.append(
                {
                    "from": low,
                    "to": high if np.isfinite(high) else None,
                    "atoms": int(chosen.sum()),
                    "mae": float(error[chosen].mean()),
                    "zero_baseline_mae": float(np.abs(teacher[chosen]).mean()),
                    "mean_cosine": _mean_cosine(teacher[chosen], student[chosen]),
                    "unit": "eV/Å",
                }
            )
    return rows


def _mean_cosine(teacher: Array, student: Array) -> float | None:
    """Return the mean cosine of the angle between both forces on an atom, without atoms whose force is small."""
    size = np.linalg.norm(teacher, axis=1)
    chosen = size > SMALLEST_DIRECTED_FORCE
    if not chosen.any():
        return None
    sizes = size[chosen] * np.maximum(np.linalg.norm(student[chosen], axis=1), 1e-12)
    return float(((teacher[chosen] * student[chosen]).sum(axis=1) / sizes).mean())


def per_element(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """Return force errors by chemical symbol."""
    teacher, student = comparison.forces()
    error = np.abs(student - teacher).mean(axis=1)
    numbers = comparison.atomic_numbers
    return {
        symbols_of([z])[0]: {
            "atoms": int((numbers == z).sum()),
            "forces": {
                "mae": float(error[numbers == z].mean()),
                "zero_baseline_mae": float(np.abs(teacher[numbers == z]).mean()),
                "unit": "eV/Å",
            },
        }
        for z in np.unique(numbers)
    }
