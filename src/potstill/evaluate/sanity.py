"""Laws that hold for every potential: the candidate is evaluated alone, without a reference.

Takes one ASE calculator and ASE ``Atoms`` and returns rows. Steps and limits are those of float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import Any

import numpy as np

from potstill.core.counts import several
from potstill.core.elements import covalent_radii
from potstill.core.geometry import random_rotation
from potstill.core.types import Array
from potstill.evaluate.measured import Row, of
from potstill.evaluate.molecules import pulled

STEP_ANGSTROM, STEP_STRAIN = 1e-2, 2e-3  # steps of central differences
RATTLE_ANGSTROM = 0.05  # displacement from the minimum, so that no force vanishes
MOST_ATOMS_DIFFERENTIATED = 4
LOOP_POINTS, MOST_LOOP_POINTS, LOOP_ANGSTROM = 24, 192, 0.1
LOOP_SETTLED = 1e-4  # relative change of the result when the points are doubled again
LEAST_WORK_EV_PER_ATOM = 0.01  # where forces vanish by symmetry, only rounding remains
FAR_ANGSTROM = 60.0
LOCAL_ANGSTROM, NUDGE_ANGSTROM = 12.0, 0.1
SCAN_FROM, SCAN_TO_ANGSTROM, SCAN_STEP_ANGSTROM = 1.2, 9.0, 0.02  # SCAN_FROM is over the sum of covalent radii
FUSED = (0.5, 0.6, 0.7)  # distances over the sum of covalent radii
STRAINED_ATOMS = 200


def force_slope(candidate: Any, atoms: Any, seed: int = 0) -> list[Row]:
    """Compare forces with central differences of the energy, for a few atoms."""
    from ase.calculators.fd import calculate_numerical_forces

    moved = of(_rattled(atoms, seed), candidate)
    chosen = np.unique(np.linspace(0, len(atoms) - 1, MOST_ATOMS_DIFFERENTIATED).round().astype(int))
    forces = moved.get_forces()[chosen]
    slope = calculate_numerical_forces(moved, eps=STEP_ANGSTROM, iatoms=chosen)
    return [Row("force_slope", _gap(forces, slope))]


def stress_slope(candidate: Any, atoms: Any, seed: int = 0) -> list[Row]:
    """Compare stress (+ is tension) with central differences of the energy under strain."""
    from ase.calculators.fd import calculate_numerical_stress

    moved = of(_rattled(atoms, seed), candidate)
    volume = moved.get_volume()
    stress = moved.get_stress(voigt=False) * volume
    slope = calculate_numerical_stress(moved, eps=STEP_STRAIN, voigt=False) * volume
    sign = " (of the wrong sign)" if np.abs(stress - slope).max() > np.abs(stress + slope).max() else ""
    return [Row("stress_slope", _gap(stress, slope), why=f"stress times volume{sign}")]


def closed_loop(candidate: Any, atoms: Any, seed: int = 0) -> list[Row]:
    """Measure the work along a circle of all coordinates, over the size of the work on its way: zero for a potential.

    The points on the circle are doubled until the result no longer changes. For smooth forces, the error of equal steps on a
    closed path shrinks exponentially. Forces that never settle are judged by the larger of the last two results. The size of
    the work counts as 0.01 eV per atom at least.
    """
    rng = np.random.default_rng(seed)
    u, v = rng.normal(size=(2, len(atoms), 3)) * LOOP_ANGSTROM
    moved, start = of(atoms, candidate), atoms.get_positions()

    def power(angle: float) -> float:
        moved.set_positions(start + np.cos(angle) * u + np.sin(angle) * v)
        return float(np.sum(moved.get_forces() * (np.cos(angle) * v - np.sin(angle) * u)))

    def result() -> tuple[float, float, float]:
        net, way = (2 * np.pi * float(np.mean(x)) for x in (powers, np.abs(powers)))
        return net, way, abs(net) / max(way, LEAST_WORK_EV_PER_ATOM * len(atoms))

    powers = [power(2 * np.pi * k / LOOP_POINTS) for k in range(LOOP_POINTS)]
    net, way, measured = result()
    before, change = 0.0, np.inf
    while len(powers) < MOST_LOOP_POINTS and not change < LOOP_SETTLED:
        before, count = measured, len(powers)
        powers += [power(2 * np.pi * (k + 0.5) / count) for k in range(count)]
        net, way, measured = result()
        change = abs(measured - before)
    settled = change < LOOP_SETTLED
    why = f"{len(powers)} points" + ("" if settled else ", not settled")
    figures = {"work along the loop, eV": net, "size of the work on its way, eV": way}
    return [Row("closed_loop", measured if settled else max(measured, before), figures, why=why)]


def invariance(candidate: Any, atoms: Any, seed: int = 0) -> list[Row]:
    """Measure the largest change of the forces when the atoms are rotated, translated and listed in another order."""
    rng = np.random.default_rng(seed)
    moved = _rattled(atoms, seed)
    before = of(moved, candidate).get_forces()
    turn, order = random_rotation(rng), rng.permutation(len(atoms))
    turned, shifted = moved.copy(), moved.copy()
    turned.set_cell(np.array(moved.cell) @ turn.T)
    turned.set_positions(moved.positions @ turn.T)
    shifted.set_positions(moved.positions + rng.normal(size=3))
    found = {
        "rotation": of(turned, candidate).get_forces() @ turn,
        "translation": of(shifted, candidate).get_forces(),
        "permutation": of(moved[order], candidate).get_forces()[np.argsort(order)],
    }
    gaps = {f"{name}, eV/Å": float(np.abs(forces - before).max()) for name, forces in found.items()}
    return [Row("invariance", _gap(np.array(list(found.values())), before), gaps)]


def extensivity(candidate: Any, atoms: Any, seed: int = 0) -> list[Row]:
    """Compare the energy per atom of a crystal with that of its supercell, or of a molecule with two of them far apart."""
    moved = _rattled(atoms, seed)
    double = moved.repeat([2, 1, 1]) if atoms.pbc.any() else _two_far_apart(moved)
    energies = [of(a, candidate).get_potential_energy() / len(a) for a in (moved, double)]
    return [Row("extensivity", 1e3 * abs(energies[1] - energies[0]), {"once, eV/atom": energies[0], "twice": energies[1]})]


def locality(candidate: Any, atoms: Any, seed: int = 0) -> list[Row]:
    """Move one atom, and measure the share of the change of forces beyond 12 Å."""
    rng = np.random.default_rng(seed)
    if atoms.pbc.all():
        axis = int(np.argmin(atoms.cell.lengths()))
        heights = 1 / np.linalg.norm(np.linalg.inv(np.array(atoms.cell)), axis=0)
        large = atoms.repeat([int(np.ceil(2.2 * LOCAL_ANGSTROM / heights[axis])) if k == axis else 1 for k in range(3)])
    else:
        large = _two_far_apart(atoms)
    nudged = large.copy()
    nudged.positions[0] += NUDGE_ANGSTROM * _unit(rng.normal(size=3))
    change = np.linalg.norm(of(nudged, candidate).get_forces() - of(large, candidate).get_forces(), axis=1)
    far = large.get_distances(0, np.arange(len(large)), mic=bool(atoms.pbc.any())) > LOCAL_ANGSTROM
    return [Row("locality", float(change[far].sum() / max(change.sum(), 1e-12)), why=f"{int(far.sum())} atoms beyond")]


def smoothness(candidate: Any, numbers: Sequence[int]) -> list[Row]:
    """Pull two atoms apart in small steps beyond any cutoff, and find the largest kink of the force by third differences.

    A step of the energy counts as a kink too, over a length of 0.1 Å.
    """
    radius = float(covalent_radii()[list(numbers)].sum())
    distance = np.arange(SCAN_FROM * radius, SCAN_TO_ANGSTROM, SCAN_STEP_ANGSTROM)
    energy, force = pulled(candidate, numbers, distance)
    kink = np.abs(np.diff(force, 3)) / 2  # a step h in f gives h, -2 h, h
    step = np.abs(np.diff(energy, 3)) / 2 / 0.1
    measured = max(float(kink.max()), float(step.max()))
    at = distance[int(np.argmax(kink)) + 1] if kink.max() >= step.max() else distance[int(np.argmax(step)) + 1]
    return [Row("smoothness", measured, why=f"largest at {at:.2f} Å")]


def fused_pairs(candidate: Any, reference: Any, elements: Sequence[int]) -> list[Row]:
    """Push pairs of atoms to 0.5, 0.6 and 0.7 of their covalent radii, and count those without a repulsive force.

    Pairs that the reference does not repel either are named and not counted.
    """
    counted: list[str] = []
    shared: list[str] = []
    for pair in combinations_with_replacement(sorted({int(z) for z in elements}), 2):
        distance = np.array(FUSED) * float(covalent_radii()[list(pair)].sum())
        if not (pulled(candidate, pair, distance)[1] > 0).all():
            (counted if (pulled(reference, pair, distance)[1] > 0).all() else shared).append(_symbols(pair))
    why = [f"not driven apart: {', '.join(counted)}"] * bool(counted)
    why += [f"nor by the reference: {', '.join(shared)}"] * bool(shared)
    return [
        Row(
            "fused_pairs",
            len(counted),
            {"pairs that it does not drive apart": len(counted) + len(shared)},
            why="; ".join(why),
        )
    ]


def endurance(candidate: Any, atoms: Any) -> list[Row]:
    """Count odd structures without a finite answer.

    The structures are a crystal of about 200 atoms stretched, compressed and sheared by 50 %; one atom alone, and alone in a
    large cell; two atoms beyond any cutoff; the atoms in vacuum as a cluster.
    """
    from ase import Atoms

    symbol = atoms.symbols[0]
    odd = {
        "one atom": Atoms(symbol),
        "one atom in a cell of 30 Å": Atoms(symbol, cell=[30.0] * 3, pbc=True),
        "two atoms far apart": Atoms([symbol] * 2, [[0, 0, 0], [0, 0, FAR_ANGSTROM]]),
    }
    if atoms.pbc.all():
        large = atoms.repeat([max(1, round((STRAINED_ATOMS / len(atoms)) ** (1 / 3)))] * 3)
        cluster = large.copy()
        cluster.pbc = False
        odd["a cluster in vacuum"] = cluster
        for name, strain in (
            ("stretched by 50 %", 0.5 * np.eye(3)),
            ("compressed by 50 %", -0.5 * np.eye(3)),
            ("sheared by 50 %", np.array([[0, 0.5, 0], [0, 0, 0.5], [0.5, 0, 0]])),
        ):
            odd[name] = large.copy()
            odd[name].set_cell(np.array(large.cell) @ (np.eye(3) + strain), scale_atoms=True)
    failed = [name for name, a in odd.items() if not _finite(of(a, candidate))]
    return [
        Row(
            "endurance",
            len(failed),
            why=f"no finite answer: {', '.join(failed)}" if failed else several(len(odd), "structure"),
        )
    ]


def _finite(atoms: Any) -> bool:
    try:
        return bool(np.isfinite(atoms.get_potential_energy()) and np.isfinite(atoms.get_forces()).all())
    except Exception:  # noqa: BLE001 - a calculator may raise whatever it likes: that is what is asked here
        return False


def _rattled(atoms: Any, seed: int) -> Any:
    moved = atoms.copy()
    moved.positions += np.random.default_rng(seed).normal(0.0, RATTLE_ANGSTROM, (len(atoms), 3))
    return moved


def _two_far_apart(atoms: Any) -> Any:
    other = atoms.copy()
    other.positions += [FAR_ANGSTROM, 0.0, 0.0]
    return atoms + other


def _gap(found: Array, expected: Array) -> float:
    """Return the largest difference over the largest expected value, which counts as one unit at least."""
    return float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max()))


def _unit(vector: Array) -> Array:
    return np.asarray(vector / np.linalg.norm(vector))


def _symbols(pair: Sequence[int]) -> str:
    from ase.data import chemical_symbols

    return "-".join(chemical_symbols[z] for z in pair)
