"""Comparison of energies and stresses with forces that needs no siblings: a pair potential fitted to the forces alone.

A sum of smooth functions of the distance, one set for each pair of elements, is linear in its coefficients. They are fitted
to the forces by least squares with a small ridge. The energies and stresses of the fit must be those of the labels, up to
what no force at a fixed cell knows: a constant for each composition, and smooth terms in the volume. The slope between both
is 1. Where the fit describes the forces badly, or what it predicts does not follow the labels, it tells nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from potstill.audit.evidence import Evidence
from potstill.audit.needs import LABELS
from potstill.audit.registry import check
from potstill.core.elements import symbols_of
from potstill.core.neighbors import structure_neighbors
from potstill.core.types import Array, Labels, Structure
from potstill.core.verdict import Finding, at_most, does_not_apply
from potstill.dataset import Dataset

CUTOFF_ANGSTROM = 5.0
CENTERS = np.linspace(0.8, CUTOFF_ANGSTROM - 0.4, 16)
WIDTH = float(CENTERS[1] - CENTERS[0])
RIDGE = 1e-4  # of the mean diagonal
FEWEST_ATOMS = 3
MOST_ELEMENTS = 6
FEWEST, MOST = 20, 100  # structures of one set of elements
MOST_ATOMS = 10_000
MOST_SYSTEMS = 5
FREE = 12  # structures more than there are terms that no force knows
OF_FORCES = 0.9  # of their variance that a fit must explain
CORRELATED = 0.9  # labels and fit, whichever structure is left out


@dataclass(frozen=True, slots=True)
class Slope:
    """Slope of labels on those of the pair potential.

    Parameters
    ----------
    what
        Label: ``energies`` or ``stresses``.
    of
        Symbols of the elements.
    structures
        Number of structures.
    low, high
        Slopes, the smallest and the largest where one structure is left out and where either side is taken as exact.
    """

    what: str
    of: str
    structures: int
    low: float
    high: float

    @property
    def apart(self) -> float:
        """Return the distance of the interval from 1."""
        return max(self.low - 1, 1 - self.high, 0.0)

    def __str__(self) -> str:
        return f"{self.what} of {self.structures} of {self.of} {self.low:.2f} to {self.high:.2f}"


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A pair potential that describes the forces of s structures.

    Parameters
    ----------
    rows
        (s,) indices of the structures.
    of
        Symbols of the elements.
    composition
        (s,) number of each structure's composition.
    terms
        (s, t) terms that forces at fixed cells know nothing of.
    environments
        (s, p) mean of each pair function over the atoms.
    energy, fitted
        (s,) energies of the labels and of the fit in eV/atom.
    stress, virial
        (s, 9) stresses of both times the volume per atom, in eV; None where a structure has none.
    """

    rows: Array
    of: str
    composition: Array
    terms: Array
    environments: Array
    energy: Array
    fitted: Array
    stress: Array | None
    virial: Array | None


@check(
    "labels",
    unit="away from 1",
    needs=(LABELS,),
    gates=("max_pair_fit_slope",),
    mend="energies, forces and stresses differ in unit, sign or method: convert them to eV, eV/Å and eV/Å^3, or label again",
)
def pair_fit_slope(evidence: Evidence) -> Finding:
    """Fit a pair potential to the forces; energies and stresses have a slope of 1 on its own where units and signs agree."""
    found = [(size, *_told_by(fit)) for size, fit in _fits(evidence)]
    known = [slope for _, slopes, _ in found for slope in slopes]
    silent = [text for _, _, texts in found for text in texts]
    energies, stresses = (
        sum(size for size, slopes, _ in found if any(slope.what == what for slope in slopes))
        for what in ("energies", "stresses")
    )
    if not known:
        why = f"no {FEWEST} structures of the same elements have forces and energies that a pair potential describes"
        return does_not_apply("pair_fit_slope", "away from 1", "; ".join([why, *silent]))
    why = f"slopes on those of a pair potential fitted to the forces: {', '.join(map(str, known))}"
    measured = max(slope.apart for slope in known)
    limit = evidence.gates.max_pair_fit_slope
    finding = at_most("pair_fit_slope", measured, limit, "away from 1", "; ".join([why, *silent]))
    return replace(finding, covered=energies, covered_stresses=stresses)


def slopes_of(dataset: Dataset, rows: Array) -> list[Slope]:
    """Return the slopes of energies and of stresses, for structures of the same elements.

    Parameters
    ----------
    dataset
        Labelled structures.
    rows
        (s,) indices, all of them periodic in three directions or none.

    Returns
    -------
    list of Slope
        None of a label on which the fit does not tell.
    """
    return _told_by(fit_of(dataset, rows))[0]


def fits_of(evidence: Evidence) -> list[Fit]:
    """Return the fits that describe the forces of some structures, those of the largest sets of elements."""
    return [fit for _, fit in _fits(evidence) if fit is not None]


def _fits(evidence: Evidence) -> list[tuple[int, Fit | None]]:
    """Return the number of structures of each set of elements, and its fit."""
    found: list[tuple[int, Fit | None]] | None = evidence.kept.get("pair_fits")
    if found is None:
        found = [(len(group), fit_of(evidence.dataset, rows)) for group, rows in _systems(evidence)]
        evidence.kept["pair_fits"] = found
    return found


def fit_of(dataset: Dataset, rows: Array) -> Fit | None:
    """Return the pair potential of structures of the same elements; None where they are few or it describes forces badly."""
    found = [(int(k), dataset[int(k)]) for k in rows]
    known = [(k, s, s.labels) for k, s in found if s.labels is not None and _finite(s.labels)]
    if len(known) < FEWEST:
        return None
    structures, labels = [s for _, s, _ in known], [x for _, _, x in known]
    elements = np.unique(np.concatenate([s.atomic_numbers for s in structures]))
    sums = [_pair_sums(structure, elements) for structure in structures]
    coefficients, explained = _fit([s.slopes for s in sums], [x.forces.astype(np.float64).ravel() for x in labels])
    if explained < OF_FORCES:
        return None
    atoms = np.array([len(s) for s in structures], dtype=float)
    volume = np.array([abs(np.linalg.det(s.cell)) if s.pbc.all() else 0.0 for s in structures])
    composition, terms = _unknown_terms(structures, elements, volume / atoms)
    stress = virial = None
    if all(x.stress is not None and np.isfinite(x.stress).all() for x in labels) and volume.all():
        stress = np.stack([x.stress.ravel() for x in labels if x.stress is not None]) * (volume / atoms)[:, None]
        virial = np.stack([(s.virials @ coefficients).ravel() for s in sums]) / atoms[:, None]
    return Fit(
        rows=np.array([k for k, _, _ in known]),
        of="".join(symbols_of(elements)),
        composition=composition,
        terms=terms,
        environments=np.stack([s.energies for s in sums]) / atoms[:, None],
        energy=np.array([x.energy for x in labels]) / atoms,
        fitted=np.array([s.energies @ coefficients for s in sums]) / atoms,
        stress=stress,
        virial=virial,
    )


def _told_by(fit: Fit | None) -> tuple[list[Slope], list[str]]:
    """Return the slopes of :func:`slopes_of`, and why a fit that describes the forces does not tell on other labels."""
    if fit is None:
        return [], []
    slopes = [_slope("energies", fit.of, fit.terms, fit.energy[:, None], fit.fitted[:, None])]
    if fit.stress is not None and fit.virial is not None:
        slopes.append(_slope("stresses", fit.of, fit.terms, fit.stress, fit.virial))
    return [s for s in slopes if isinstance(s, Slope)], [s for s in slopes if isinstance(s, str)]


def _systems(evidence: Evidence) -> list[tuple[list[int], Array]]:
    """Return the largest sets of structures of the same elements, all periodic or none, and rows drawn of each."""
    stats, pbc = evidence.stats, evidence.dataset.column("structures/pbc")
    numbers, ptr = evidence.dataset.column("atoms/atomic_numbers"), evidence.dataset.ptr
    groups: dict[tuple[bytes, bool], list[int]] = defaultdict(list)
    for k in np.flatnonzero((stats.atoms >= FEWEST_ATOMS) & np.isin(pbc.sum(axis=1), (0, 3))):
        elements = np.unique(numbers[ptr[k] : ptr[k + 1]])
        if len(elements) <= MOST_ELEMENTS:
            groups[elements.tobytes(), bool(pbc[k].all())].append(int(k))
    largest = sorted((g for g in groups.values() if len(g) >= FEWEST), key=len, reverse=True)[:MOST_SYSTEMS]
    rng = np.random.default_rng(evidence.seed)
    drawn = [(group, rng.permutation(group)[:MOST]) for group in largest]
    return [(group, np.sort(rows[np.cumsum(stats.atoms[rows]) <= MOST_ATOMS])) for group, rows in drawn]


def _unknown_terms(structures: Sequence[Structure], elements: Array, volume: Array) -> tuple[Array, Array]:
    """Return (s,) compositions, and (s, t) terms that forces at fixed cells know nothing of: of these, and of the volume."""
    counts = [np.bincount(np.searchsorted(elements, s.atomic_numbers), minlength=len(elements)) for s in structures]
    fractions = np.stack([count / count.sum() for count in counts])
    _, composition = np.unique(np.round(fractions, 6), axis=0, return_inverse=True)
    constants = np.eye(int(composition.max()) + 1)[composition.ravel()]
    scaled = volume / max(float(volume.max()), 1e-300)
    return composition.ravel(), np.column_stack([constants, fractions * scaled[:, None], scaled**2, scaled**3])


def _slope(what: str, of: str, terms: Array, labelled: Array, fitted: Array) -> Slope | str:
    """Return the slope of (s, c) labels on those of the fit without the (s, t) terms, or why the fit does not tell."""
    columns = labelled.shape[1]
    both = np.column_stack([labelled, fitted])
    solution, _, rank, _ = np.linalg.lstsq(terms, both, rcond=1e-8)
    if len(both) - rank < FREE:
        return f"{what} of {len(both)} of {of} are too few for their compositions"
    rest = both - terms @ solution
    y, x = rest[:, :columns], rest[:, columns:]
    yy, xy, xx = ((total := (u * v).sum(axis=1)).sum() - total for u, v in ((y, y), (x, y), (x, x)))
    if not (xx > 0).all() or not (yy > 0).all() or (np.abs(xy) < CORRELATED * np.sqrt(xx * yy)).any():
        return f"{what} of {len(both)} of {of} do not follow the fit"
    bounds = np.concatenate([xy / xx, yy / xy])
    return Slope(what, of, len(both), float(bounds.min()), float(bounds.max()))


def _fit(slopes: Sequence[Array], forces: Sequence[Array]) -> tuple[Array, float]:
    """Return (p,) coefficients in eV of the forces, and the part of their variance that they explain."""
    square = np.sum([slope.T @ slope for slope in slopes], axis=0)
    right = np.sum([slope.T @ f for slope, f in zip(slopes, forces, strict=True)], axis=0)
    ridge = RIDGE * float(np.trace(square)) / len(square) + 1e-300
    coefficients = np.linalg.solve(square + ridge * np.eye(len(square)), right)
    total = sum(float(f @ f) for f in forces)
    left = sum(float(((f - slope @ coefficients) ** 2).sum()) for slope, f in zip(slopes, forces, strict=True))
    return np.asarray(coefficients), 1 - left / max(total, 1e-300)


@dataclass(frozen=True, slots=True, eq=False)
class _Sums:
    """Sums of all p functions over the pairs of n atoms: energies (p,), minus slopes (3n, p) in 1/Å, virials (3, 3, p)."""

    energies: Array
    slopes: Array
    virials: Array


def _pair_sums(structure: Structure, elements: Array) -> _Sums:
    found = structure_neighbors(structure, CUTOFF_ANGSTROM)
    receiver, sender = found.edge_index
    kind = np.searchsorted(elements, structure.atomic_numbers)
    pairs = len(elements) * (len(elements) + 1) // 2
    number = np.zeros((len(elements), len(elements)), np.int64)
    number[np.triu_indices(len(elements))] = np.arange(pairs)
    pair = number[np.minimum(kind[receiver], kind[sender]), np.maximum(kind[receiver], kind[sender])]
    x = (found.distance[:, None] - CENTERS) / WIDTH
    bump = np.exp(-(x**2) / 2)
    angle = np.pi * found.distance[:, None] / CUTOFF_ANGSTROM
    fade, fading = (np.cos(angle) + 1) / 2, -np.pi / (2 * CUTOFF_ANGSTROM) * np.sin(angle)
    steep = bump * (fading - x / WIDTH * fade) / np.maximum(found.distance, 1e-9)[:, None]  # slope over distance
    energies = np.zeros((pairs, len(CENTERS)))
    np.add.at(energies, pair, bump * fade / 2)  # each pair comes in both directions
    slopes = np.zeros((len(structure) * pairs, 3, len(CENTERS)))
    np.add.at(slopes, receiver * pairs + pair, found.vectors[:, :, None] * steep[:, None, :])
    virials = np.zeros((pairs, 9, len(CENTERS)))
    squares = (found.vectors[:, :, None] * found.vectors[:, None, :]).reshape(-1, 9)
    np.add.at(virials, pair, squares[:, :, None] * steep[:, None, :] / 2)
    by_atom = slopes.reshape(len(structure), pairs, 3, len(CENTERS)).transpose(0, 2, 1, 3)
    by_component = virials.transpose(1, 0, 2).reshape(3, 3, -1)
    return _Sums(energies.ravel(), by_atom.reshape(3 * len(structure), -1), by_component)


def _finite(labels: Labels) -> bool:
    return bool(np.isfinite(labels.energy) and np.isfinite(labels.forces).all())
