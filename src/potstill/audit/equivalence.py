"""Equal structures written in two ways: a teacher must give both the same energy, forces and stress.

A teacher that ignores the cell, mixes up the order of atoms, looks at nearest images only or repeats a slab across its
vacuum passes the other checks: its forces are the slope of its energy. Here it is asked about copies of a few structures
that are the same by nature.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from potstill.audit.evidence import Evidence
from potstill.audit.needs import LABELS, TEACHER
from potstill.audit.registry import check
from potstill.audit.replay import MAX_COPIED, at_most_for, teacher_of
from potstill.core.types import SHORTEST_VECTOR, Array, Labels, Refused, Structure, Teacher
from potstill.core.verdict import Finding, at_most, does_not_apply, warned

DRAWN_OF_A_KIND = 20  # of which those with the most elements, or the smallest, are taken
MOST_LATTICE_VECTORS = 2  # that an atom is moved by, in either direction
LARGEST_TRANSLATION = 1.0  # Å
UNIT = "eV or eV/Å"


@check(
    "labels",
    unit=UNIT,
    needs=(
        LABELS,
        TEACHER,
    ),
    gates=("max_equivalence_gap",),
    mend="the teacher's answer depends on the order of atoms, on their periodic images, on the origin, on the handedness of "
    "the cell, or on the cell along an axis that is not periodic: mend its adapter",
)
def equivalent_structures(evidence: Evidence) -> Finding:
    """Ask the teacher about copies with atoms in another order, moved together, and each by lattice vectors.

    Where an axis is not periodic and yet has a vector, as across the vacuum of a slab, the vector of the copy is longer.
    The copy of a left-handed cell is right-handed, by two lattice vectors exchanged.
    """
    rng = np.random.default_rng(evidence.seed)
    few = at_most_for(len(evidence.dataset), MAX_COPIED)
    of_kinds = [_most_elements(evidence, kind, few) for kind in _kinds(evidence)]
    chosen = [evidence.dataset[k].with_(labels=None) for kind in of_kinds for k in kind]
    orders = [rng.permutation(len(s)) for s in chosen]
    copies = [_rewritten(s, order, rng) for s, order in zip(chosen, orders, strict=True)]
    answers = teacher_of(evidence).label([*chosen, *copies])
    gaps = [
        _gap(s, one, other, order)
        for s, order, one, other in zip(chosen, orders, answers[: len(chosen)], answers[len(chosen) :], strict=True)
    ]
    grown = sum(_narrowest_open_axis(s) is not None for s in chosen)
    longer = f", {grown} of them in a cell twice as long along an axis that is not periodic" if grown else ""
    why = (
        f"{len(chosen)} structures with their atoms in another order, moved together, and each by lattice vectors{longer}: "
        "largest difference of energy per atom, force, or stress times volume per atom"
    )
    return _largest(evidence, "equivalent_structures", gaps, chosen, why)


@check(
    "labels",
    unit=UNIT,
    needs=(
        LABELS,
        TEACHER,
    ),
    gates=("max_equivalence_gap",),
    mend="the teacher's answer depends on the size of the cell: nearest images only, or few k-points",
)
def repeated_cells(evidence: Evidence) -> Finding:
    """Ask the teacher about periodic structures and the same repeated once. The check only warns, as k-points may matter."""
    few = at_most_for(len(evidence.dataset), MAX_COPIED)
    ptr = evidence.dataset.ptr
    of_kinds = [sorted(kind.tolist(), key=lambda k: int(ptr[k + 1] - ptr[k]))[:few] for kind in _kinds(evidence)[:2]]
    chosen = [evidence.dataset[k].with_(labels=None) for kind in of_kinds for k in kind]
    if not chosen:
        return does_not_apply("repeated_cells", UNIT, "no structure is periodic")
    answered = _answered(teacher_of(evidence), chosen, [_repeated(s) for s in chosen])
    if not answered:
        return does_not_apply("repeated_cells", UNIT, f"the teacher refuses each of {len(chosen)} repeated structures")
    gaps = [_gap(s, one, other, np.tile(np.arange(len(s)), 2)) for s, one, other in answered]
    why = (
        f"{len(answered)} periodic structures and the same, repeated once along the shortest lattice vector: largest "
        "difference of energy per atom, force, or stress times volume per atom"
    )
    return warned(_largest(evidence, "repeated_cells", gaps, [s for s, _, _ in answered], why))


@check(
    "labels",
    unit=UNIT,
    needs=(
        LABELS,
        TEACHER,
    ),
    gates=("max_equivalence_gap",),
    mend="the teacher's answer depends on the orientation: axes mixed up, or a model that learned rotations from data",
)
def rotated_structures(evidence: Evidence) -> Finding:
    """Ask the teacher about rotated structures. The check only warns, since some models have learned rotations from data."""
    few = at_most_for(len(evidence.dataset), MAX_COPIED)
    chosen = [
        evidence.dataset[k].with_(labels=None) for kind in _kinds(evidence) for k in _most_elements(evidence, kind, few)
    ]
    rng = np.random.default_rng(evidence.seed)
    rotations = [_rotation(rng) for _ in chosen]
    copies = [
        s.with_(positions=s.positions @ turn.T, cell=s.cell @ turn.T) for s, turn in zip(chosen, rotations, strict=True)
    ]
    answered = _answered(teacher_of(evidence), chosen, copies)
    if not answered:
        return does_not_apply("rotated_structures", UNIT, f"the teacher refuses each of {len(chosen)} rotated structures")
    turns = {s.id: turn for s, turn in zip(chosen, rotations, strict=True)}
    gaps = [_gap(s, one, _turned_back(other, turns[s.id]), np.arange(len(s))) for s, one, other in answered]
    why = (
        f"{len(answered)} structures, rotated at random: largest difference of energy per atom, force, or stress times "
        "volume per atom, in the axes of the structure"
    )
    return warned(_largest(evidence, "rotated_structures", gaps, [s for s, _, _ in answered], why))


def _largest(evidence: Evidence, name: str, gaps: Sequence[float], structures: Sequence[Structure], why: str) -> Finding:
    """Hold the largest gap of some structures against the gate."""
    worst = [structures[k].id for k in np.argsort(gaps)[::-1]]
    return at_most(name, np.max(gaps), evidence.gates.max_equivalence_gap, UNIT, why, worst)


def _answered(
    teacher: Teacher, chosen: Sequence[Structure], copies: Sequence[Structure]
) -> list[tuple[Structure, Labels | Refused, Labels]]:
    """Return structures with the answers to them and to their copies, without those whose copy the teacher refuses."""
    answers = teacher.label([*chosen, *copies])
    pairs = zip(chosen, answers[: len(chosen)], answers[len(chosen) :], strict=True)
    return [(s, one, other) for s, one, other in pairs if isinstance(other, Labels)]


def _rotation(rng: np.random.Generator) -> Array:
    """Return a (3, 3) proper rotation, uniform over all orientations."""
    turn, upper = np.linalg.qr(rng.normal(size=(3, 3)))
    turn = turn * np.sign(np.diag(upper))
    return turn * np.linalg.det(turn)


def _turned_back(labels: Labels, turn: Array) -> Labels:
    """Return labels of a rotated structure in the axes of the structure as it was."""
    stress = None if labels.stress is None else turn.T @ np.asarray(labels.stress) @ turn
    return Labels(labels.energy, np.asarray(labels.forces) @ turn, stress)


def _kinds(evidence: Evidence) -> list[Array]:
    """Return indices at random: crystals, structures periodic in some directions, molecules, and left-handed crystals."""
    axes = np.asarray(evidence.dataset.column("structures/pbc"), dtype=bool).sum(axis=1)
    left_handed = (axes == 3) & (np.linalg.det(np.asarray(evidence.dataset.column("structures/cell"))) < 0)
    order = np.random.default_rng(evidence.seed).permutation(len(axes))
    kinds = ((axes == 3) & ~left_handed, np.isin(axes, (1, 2)), axes == 0, left_handed)
    return [order[kind[order]][:DRAWN_OF_A_KIND] for kind in kinds]


def _most_elements(evidence: Evidence, drawn: Array, few: int) -> list[int]:
    """Return a few of the indices drawn, of structures with more than one atom and element where there are such."""
    elements = {int(k): evidence.dataset[int(k)].atomic_numbers for k in drawn}
    return sorted(elements, key=lambda k: (-len(np.unique(elements[k])), len(elements[k]) < 2))[:few]


def _rewritten(structure: Structure, order: Array, rng: np.random.Generator) -> Structure:
    """Return the structure with its atoms in another order, moved together, and each by random lattice vectors.

    Of axes that are not periodic, the vector with the least vacuum is doubled. A grid keeps its spacing then.
    Of a left-handed cell, two vectors are exchanged.
    """
    pbc, cell = structure.pbc, structure.cell
    images = rng.integers(-MOST_LATTICE_VECTORS, MOST_LATTICE_VECTORS + 1, (len(structure), 3)) * pbc
    fractions = rng.uniform(0, 1, 3) * pbc  # along open axes a slab keeps its place
    together = fractions @ cell if pbc.any() else rng.uniform(-LARGEST_TRANSLATION, LARGEST_TRANSLATION, 3)
    moved = structure.positions + images @ cell + together
    longer = cell.copy()
    if (axis := _narrowest_open_axis(structure)) is not None:
        longer[axis] *= 2
    if pbc.all() and np.linalg.det(cell) < 0:
        longer = longer[[1, 0, 2]]
    return structure.with_(atomic_numbers=structure.atomic_numbers[order], positions=moved[order], cell=longer)


def _narrowest_open_axis(structure: Structure) -> int | None:
    """Return the axis that is not periodic and has the vector with the least vacuum; None where none has a vector."""
    lengths = np.linalg.norm(structure.cell, axis=1)
    open_ = ~structure.pbc & (lengths >= SHORTEST_VECTOR)
    if not open_.any():
        return None
    along = structure.positions @ (structure.cell / np.maximum(lengths, SHORTEST_VECTOR)[:, None]).T
    return int(np.argmin(np.where(open_, lengths - np.ptp(along, axis=0), np.inf)))


def _repeated(structure: Structure) -> Structure:
    """Return the structure repeated once along its shortest periodic lattice vector."""
    lengths = np.where(structure.pbc, np.linalg.norm(structure.cell, axis=1), np.inf)
    axis = int(np.argmin(lengths))
    cell = structure.cell.copy()
    cell[axis] *= 2
    return structure.with_(
        atomic_numbers=np.tile(structure.atomic_numbers, 2),
        positions=np.concatenate([structure.positions, structure.positions + structure.cell[axis]]),
        cell=cell,
    )


def _gap(structure: Structure, one: Labels | Refused, other: Labels | Refused, atoms: Sequence[int] | Array) -> float:
    """Return the largest difference of two answers; ``atoms`` are the atoms of the first that the second has, in order.

    Infinite where the teacher refuses either, or gives stress to one of them only.
    """
    if not isinstance(one, Labels) or not isinstance(other, Labels) or (one.stress is None) != (other.stress is None):
        return math.inf
    gaps = [
        abs(one.energy / len(structure) - other.energy / len(atoms)),
        float(np.abs(np.asarray(one.forces)[atoms] - other.forces).max()),
    ]
    if one.stress is not None and other.stress is not None:
        gaps.append(float(np.abs(one.stress - other.stress).max()) * structure.volume / len(structure))
    largest = float(np.max(gaps))
    return largest if math.isfinite(largest) else math.inf
