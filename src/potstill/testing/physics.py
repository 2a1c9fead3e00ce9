"""Laws that hold for every model of atoms: symmetries, sums, and forces as the negative gradient of the energy.

Takes a function that labels structures. Returns nothing, or raises AssertionError with the measured value and its limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from potstill.core.types import Array, Labels, Structure

Label = Callable[[Sequence[Structure]], Sequence[Labels]]

CUTOFF_STEP_ANGSTROM = 1e-3  # either side of a cutoff, where energy and forces are compared
SYMMETRIC_STRAINS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


@dataclass(frozen=True, slots=True)
class Tolerances:
    """Largest accepted differences; each grows with the size of the compared values where that exceeds one unit.

    Parameters
    ----------
    energy, forces, stress
        eV per atom, eV/Å and eV/Å^3, between two ways to the same number.
    slope
        Difference between a derivative and its central difference, relative to the largest derivative (at least one unit).
    step_angstrom
        Displacement of an atom in a central difference.
    step_strain
        Strain of the cell in a central difference.
    """

    energy: float
    forces: float
    stress: float
    slope: float
    step_angstrom: float
    step_strain: float


FLOAT64 = Tolerances(energy=1e-8, forces=1e-7, stress=1e-8, slope=2e-5, step_angstrom=1e-4, step_strain=1e-5)
FLOAT32 = Tolerances(energy=2e-5, forces=2e-4, stress=2e-5, slope=3e-2, step_angstrom=1e-2, step_strain=2e-3)


def at_most(what: str, measured: float, limit: float, unit: str) -> None:
    """Raise AssertionError if ``measured`` exceeds ``limit`` or is not a number."""
    if not measured <= limit:
        raise AssertionError(f"{what}: measured {measured:.3g}, limit {limit:.3g} {unit}")


def require(holds: bool, message: str) -> None:
    """Raise AssertionError with a message if a condition does not hold."""
    if not holds:
        raise AssertionError(message)


def has_volume(structure: Structure) -> bool:
    """Return whether the cell has a volume, whichever axes are periodic: a virial over it is a stress."""
    return bool(abs(np.linalg.det(structure.cell)) > 0)


def well_formed(structure: Structure, labels: Labels) -> None:
    """Check shapes, finite numbers, and a symmetric stress only where the cell has a volume."""
    name, n = structure.id, len(structure)
    forces = np.asarray(labels.forces)
    require(np.ndim(labels.energy) == 0, f"{name}: energy must be one number, found shape {np.shape(labels.energy)}")
    require(forces.shape == (n, 3), f"{name}: forces must have shape ({n}, 3), found {forces.shape}")
    require(bool(np.isfinite(labels.energy)), f"{name}: the energy is not finite")
    require(bool(np.isfinite(forces).all()), f"{name}: forces are not finite")
    if labels.stress is None:
        return
    stress = np.asarray(labels.stress)
    require(has_volume(structure), f"{name}: stress of a structure whose cell has no volume, expected None")
    require(stress.shape == (3, 3), f"{name}: stress must have shape (3, 3), found {stress.shape}")
    require(bool(np.isfinite(stress).all()), f"{name}: the stress is not finite")
    scale = max(1.0, float(np.abs(stress).max()))
    at_most(f"{name}: asymmetry of the stress", float(np.abs(stress - stress.T).max()), 1e-5 * scale, "eV/Å^3")


def same(what: str, found: Labels, expected: Labels, tolerances: Tolerances) -> None:
    """Check that two labels agree within tolerances."""
    n = len(expected.forces)
    require(found.forces.shape == expected.forces.shape, f"{what}: forces of {len(found.forces)} atoms, expected {n}")
    scale = max(1.0, abs(expected.energy) / n)
    at_most(f"{what}: energy", abs(found.energy - expected.energy) / n, tolerances.energy * scale, "eV per atom")
    scale = max(1.0, float(np.abs(expected.forces).max()))
    at_most(f"{what}: forces", float(np.abs(found.forces - expected.forces).max()), tolerances.forces * scale, "eV/Å")
    require((found.stress is None) == (expected.stress is None), f"{what}: stress is there in one case and not in the other")
    if found.stress is not None and expected.stress is not None:
        scale = max(1.0, float(np.abs(expected.stress).max()))
        at_most(f"{what}: stress", float(np.abs(found.stress - expected.stress).max()), tolerances.stress * scale, "eV/Å^3")


def rotation(label: Label, structure: Structure, tolerances: Tolerances, *, mirror: bool = False) -> None:
    """Check that energy is invariant and forces and stress rotate with the structure (and its mirror image)."""
    turn, _ = np.linalg.qr(np.array([[0.3, -0.8, 0.5], [0.9, 0.2, -0.4], [0.1, 0.7, 0.6]]))
    turn = turn * np.sign(np.linalg.det(turn)) * (-1.0 if mirror else 1.0)
    turned = structure.with_(positions=structure.positions @ turn.T, cell=structure.cell @ turn.T)
    before, after = label([structure, turned])
    stress = None if before.stress is None else turn @ before.stress @ turn.T
    what = f"{structure.id}: {'reflection' if mirror else 'rotation'}"
    same(what, after, Labels(before.energy, before.forces @ turn.T, stress), tolerances)


def permutation(label: Label, structure: Structure, tolerances: Tolerances) -> None:
    """Check that permuting the atoms permutes the forces and changes nothing else."""
    order = np.random.default_rng(len(structure)).permutation(len(structure))
    shuffled = structure.with_(
        atomic_numbers=structure.atomic_numbers[order], positions=structure.positions[order], labels=None
    )
    before, after = label([structure, shuffled])
    same(f"{structure.id}: permutation", after, Labels(before.energy, before.forces[order], before.stress), tolerances)


def translation(label: Label, structure: Structure, tolerances: Tolerances) -> None:
    """Check that translations, and lattice translations of single atoms, change nothing."""
    n = len(structure)
    images = np.random.default_rng(n).integers(-2, 3, (n, 3)) * structure.pbc
    images[0] = structure.pbc
    moved = structure.with_(positions=structure.positions + np.array([0.37, -1.21, 2.03]) + images @ structure.cell)
    before, after = label([structure, moved])
    same(f"{structure.id}: translation by lattice vectors", after, before, tolerances)


def supercell(label: Label, structure: Structure, tolerances: Tolerances) -> None:
    """Check that a supercell has the energy of its cells, the same forces and the same stress."""
    repeats = [2 if periodic else 1 for periodic in structure.pbc]
    n = int(np.prod(repeats))
    large = Structure.from_ase(structure.to_ase().repeat(repeats), id=structure.id)
    before, after = label([structure, large])
    expected = Labels(n * before.energy, np.tile(before.forces, (n, 1)), before.stress)
    same(f"{structure.id}: supercell of {n} cells", after, expected, tolerances)


def batch_is_single(label: Label, structures: Sequence[Structure], tolerances: Tolerances) -> list[Labels]:
    """Check that one call with all structures equals one call for each, in both orders."""
    together = list(label(structures))
    require(
        len(together) == len(structures),
        f"length: {len(together)} answers to {len(structures)} structures, expected as many",
    )
    backwards = list(label(structures[::-1]))[::-1]
    for structure, one, other in zip(structures, together, backwards, strict=True):
        (alone,) = label([structure])
        same(f"{structure.id}: in a batch and alone (order of the answers?)", one, alone, tolerances)
        same(f"{structure.id}: in a batch in reversed order and alone (order of the answers?)", other, alone, tolerances)
    return together


def untouched(label: Label, structures: Sequence[Structure]) -> None:
    """Check that labelling changes no array of a structure."""
    before = [_bytes(s) for s in structures]
    label(structures)
    for structure, content in zip(structures, before, strict=True):
        require(_bytes(structure) == content, f"{structure.id}: the input was changed; expected it untouched")


def force_is_slope(label: Label, structure: Structure, tolerances: Tolerances, components: int | None = None) -> None:
    """Check forces against central differences of the energy, for all or for some coordinates."""
    n, h = len(structure), tolerances.step_angstrom
    chosen = np.arange(3 * n)
    if components is not None and components < 3 * n:
        chosen = np.unique(np.linspace(0, 3 * n - 1, components).round().astype(int))
    moved = []
    for k in chosen:
        step = np.zeros((n, 3))
        step.flat[k] = h
        moved += [structure.with_(positions=structure.positions + sign * step) for sign in (1, -1)]
    energy = np.array([x.energy for x in label(moved)]).reshape(-1, 2)
    (labels,) = label([structure])
    _compare_slope(
        f"{structure.id}: forces against the central difference of the energy",
        labels.forces.reshape(-1)[chosen],
        -(energy[:, 0] - energy[:, 1]) / (2 * h),
        tolerances,
        "eV/Å",
    )


def stress_is_slope(label: Label, structure: Structure, tolerances: Tolerances) -> None:
    """Check stress against central differences of the energy under strain, divided by the volume; + is tension."""
    h = tolerances.step_strain
    strained = []
    for a, b in SYMMETRIC_STRAINS:
        strain = np.zeros((3, 3))
        strain[a, b] += h / 2
        strain[b, a] += h / 2
        for sign in (1, -1):
            deformation = np.eye(3) + sign * strain
            strained.append(structure.with_(positions=structure.positions @ deformation, cell=structure.cell @ deformation))
    energy = np.array([x.energy for x in label(strained)]).reshape(-1, 2)
    (labels,) = label([structure])
    if labels.stress is None:
        raise AssertionError(f"{structure.id}: no stress, expected one where all three axes are periodic")
    _compare_slope(
        f"{structure.id}: stress (+ is tension) against the central difference of the energy",
        np.array([labels.stress[a, b] for a, b in SYMMETRIC_STRAINS]) * structure.volume,
        (energy[:, 0] - energy[:, 1]) / (2 * h),
        tolerances,
        "eV (stress times volume)",
    )


def _compare_slope(what: str, found: Array, expected: Array, tolerances: Tolerances, unit: str) -> None:
    limit = tolerances.slope * max(1.0, float(np.abs(expected).max()))
    gap = float(np.abs(found - expected).max())
    if not gap <= limit and float(np.abs(found + expected).max()) <= limit:
        what += " (its sign is wrong)"
    at_most(what, gap, limit, unit)


def _bytes(structure: Structure) -> bytes:
    arrays = (structure.atomic_numbers, structure.positions, structure.cell, structure.pbc)
    return b"".join(array.tobytes() for array in arrays)
