"""Labels beside those of the student ``general``: of another size, or with an offset in some structures.

Energies, forces and stresses in Hartree, Hartree/Å and Hartree/Å^3 agree with each other, so no other check finds them. An
offset of the energies of some compositions agrees with the forces, and with any repetition. ``general`` knows 89 elements.
It is right to some tens of per cent in forces and some 0.1 eV/atom in energies: enough to tell either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from ase import units

from potstill.audit.evidence import Evidence
from potstill.audit.needs import LABELS, NOBODY_TO_ASK
from potstill.audit.registry import check
from potstill.core.types import Array, Labels, Structure, Teacher
from potstill.core.verdict import Finding, Verdict, at_most, does_not_apply, warned
from potstill.teacher.choices import parse_teacher

MOST, MOST_ATOMS = 60, 200
FEWEST = 5
FEWEST_ENERGIES, FEWEST_FAR = 12, 3
APART_EV_PER_ATOM, FAR = 0.6, 10.0  # the latter of the median
ITERATIONS, SMALLEST_REST = 50, 1e-3  # eV/atom
CORRELATED = 0.7
LEAST_SPREAD = 5e-3  # eV/atom of general
AS_WELL = 0.01  # of a correlation
NEAR_UNIT, NEAR_UNIT_OF_ENERGY = 1.3, 1.4  # general is right to some tens of per cent
_KJ = units.mol / units.kJ
FORCE_UNITS = {  # of 1 eV/Å
    "Hartree/Å": 1 / units.Hartree,
    "Hartree/Bohr": units.Bohr / units.Hartree,
    "Rydberg/Å": 1 / units.Rydberg,
    "Rydberg/Bohr": units.Bohr / units.Rydberg,
    "kcal/mol/Å": units.mol / units.kcal,
    "kJ/mol/Å": _KJ,
    "kJ/mol/nm": _KJ * units.nm,
    "meV/Å": 1000.0,
}
ENERGY_UNITS = {  # of 1 eV
    "Hartree": 1 / units.Hartree,
    "Rydberg": 1 / units.Rydberg,
    "kcal/mol": units.mol / units.kcal,
    "kJ/mol": _KJ,
    "meV": 1000.0,
}
TOO_FEW = f"fewer than {{}} structures of at most {MOST_ATOMS} atoms and of elements that general knows"
CALCULATOR = "potstill.deploy:student_calculator"  # of the student general

Answered = tuple[Structure, Labels, Labels]  # a structure, its labels, those of general


@check(
    "labels",
    unit="times",
    needs=(LABELS, NOBODY_TO_ASK),
    gates=("max_label_scale",),
    mend="labels are of another size or sign than general's: convert them to eV (of the whole structure), eV/Å and eV/Å^3",
)
def label_scale(evidence: Evidence) -> Finding:
    """Fit the slope of forces and energies on those of ``general``: far from 1 in another unit, negative for gradients.

    The check only warns of another size.
    """
    answered = answers(evidence)
    pairs = [(labels.forces.ravel(), answer.forces.ravel()) for _, labels, answer in answered]
    if len(pairs) < FEWEST:
        return does_not_apply("label_scale", "times", TOO_FEW.format(FEWEST))
    ours, theirs = (np.concatenate(column).astype(float) for column in zip(*pairs, strict=True))
    keep = np.isfinite(ours) & np.isfinite(theirs)
    yy, xy, xx = (float(u[keep] @ v[keep]) for u, v in ((ours, ours), (theirs, ours), (theirs, theirs)))
    if abs(xy) < CORRELATED * np.sqrt(xx * yy) or not xy:
        return does_not_apply("label_scale", "times", "forces do not follow those of general, so their size says nothing")
    slope, limit = xy / xx, evidence.gates.max_label_scale
    if slope < 0:
        why = f"forces of {len(pairs)} structures are minus those of general ({slope:.3g} times), as gradients are"
        return replace(at_most("label_scale", slope, limit, "times", why), verdict=Verdict.NO_GO)
    size = max(slope, 1 / slope)
    why = f"forces of {len(pairs)} structures are {slope:.3g} times those of general"
    why += _units(FORCE_UNITS, slope) if size > limit else "; another unit gives 13 or more, or 1/13"
    energies = energies_beside(answered)
    if energies and energies.correlation >= CORRELATED:
        of_energies = max(energies.slope, 1 / energies.slope)
        if of_energies > limit >= size:
            why = f"energies are {energies.slope:.3g} times those of general, forces are not ({slope:.3g} times)"
            whole = energies.slope_of_whole
            per_atom = energies.whole >= energies.correlation - AS_WELL and max(whole, 1 / whole) <= limit
            named = {"eV per atom": energies.slope} if per_atom else {}
            why += _units(named | ENERGY_UNITS, energies.slope, NEAR_UNIT_OF_ENERGY)
        elif size > limit >= of_energies:
            why += f"; energies are not ({energies.slope:.3g} times)"
        size = max(size, of_energies)
    if size > limit:
        evidence.kept["other_size"] = why  # of no other limit, before the labels are converted
    return warned(at_most("label_scale", size, limit, "times", why))


@check(
    "labels",
    unit="of the structures",
    needs=(LABELS,),
    gates=("max_energies_apart",),
    mend="look at the named structures: energies of another code or setting, per formula unit, or with an offset",
)
def energies_apart(evidence: Evidence) -> Finding:
    """Count energies far from those of ``general``, where most of them are near. The check only warns.

    The difference per atom is fitted by reference energies of the elements, with the least absolute deviation.
    """
    known = [(s, labels, answer) for s, labels, answer in answers(evidence) if np.isfinite(labels.energy)]
    if len(known) < FEWEST_ENERGIES:
        return does_not_apply("energies_apart", "of the structures", TOO_FEW.format(FEWEST_ENERGIES))
    fractions = _fractions([s for s, _, _ in known])
    apart = np.array([(labels.energy - answer.energy) / len(s) for s, labels, answer in known])
    rest = np.abs(_without_references(apart, fractions))
    middle = float(np.median(rest))
    limit = max(APART_EV_PER_ATOM, FAR * middle)
    far = np.flatnonzero(rest > limit)
    why = (
        f"{len(far)} of {len(known)} energies are more than {limit:.3g} eV/atom from those of "
        f"general, the median is {middle:.3g}, with reference energies of the elements taken out"
    )
    share = len(far) / len(known) if len(far) >= FEWEST_FAR else 0.0
    worst = [known[k][0].id for k in far[np.argsort(-rest[far])]]
    return warned(at_most("energies_apart", share, evidence.gates.max_energies_apart, "of the structures", why, worst))


def _without_references(values: Array, fractions: Array) -> Array:
    """Return (s,) what is left of values when a value for each element is fitted by least absolute deviations (IRLS)."""
    weights = np.ones(len(values))
    for _ in range(ITERATIONS):
        solution = np.linalg.lstsq(fractions * weights[:, None], values * weights, rcond=None)[0]
        rest = values - fractions @ solution
        weights = 1 / np.sqrt(np.maximum(np.abs(rest), SMALLEST_REST))
    return np.asarray(rest)


def _fractions(structures: Sequence[Structure]) -> Array:
    """Return (s, e) shares of the elements."""
    elements = np.unique(np.concatenate([s.atomic_numbers for s in structures]))
    return np.array([[(s.atomic_numbers == z).mean() for z in elements] for s in structures])


@dataclass(frozen=True, slots=True)
class Energies:
    """Energies per atom beside those of ``general``, reference energies of the elements taken out of both.

    Parameters
    ----------
    structures
        Number of structures.
    correlation, slope
        Of the labels with those of general.
    whole, slope_of_whole
        The same if the labels are energies per atom already.
    spread
        Standard deviation of those of general, in eV/atom.
    """

    structures: int
    correlation: float
    slope: float
    whole: float
    slope_of_whole: float
    spread: float


def energies_beside(answered: Sequence[Answered]) -> Energies | None:
    """Compare energies with those of ``general``; None where there are few, or they do not differ."""
    known = [(s, x.energy, y.energy) for s, x, y in answered if np.isfinite(x.energy) and np.isfinite(y.energy)]
    if len(known) < FEWEST_ENERGIES:
        return None
    atoms = np.array([len(s) for s, _, _ in known], float)
    ours, theirs = (np.array(column, float) for column in zip(*((x, y) for _, x, y in known), strict=True))
    both = np.column_stack([ours / atoms, ours, theirs / atoms])
    fractions = _fractions([s for s, _, _ in known])
    solution, _, rank, _ = np.linalg.lstsq(fractions, both, rcond=1e-8)
    rest, whole, general = (both - fractions @ solution).T
    spread = float(general.std())
    if len(known) - rank < FEWEST_ENERGIES or spread < LEAST_SPREAD:
        return None
    slope, slope_of_whole = (float(x @ general / (general @ general)) for x in (rest, whole))
    return Energies(len(known), correlation(rest, general), slope, correlation(whole, general), slope_of_whole, spread)


def correlation(ours: Array, theirs: Array) -> float:
    """Return the correlation of two sets of values; 0 where one of them does not vary.

    >>> correlation(np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0]))
    -1.0
    """
    x, y = ours - ours.mean(), theirs - theirs.mean()
    product = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / product if product > 0 else 0.0


def _units(units: Mapping[str, float], slope: float, near_by: float = NEAR_UNIT) -> str:
    """Return the units that a slope of this size is near to, the nearest first, as a question."""
    apart = {name: abs(np.log(slope / factor)) for name, factor in units.items()}
    near = sorted((name for name, distance in apart.items() if distance <= np.log(near_by)), key=apart.__getitem__)
    return f": {' or '.join(near)}?" if near else ""


def answers(evidence: Evidence) -> list[Answered]:
    """Return some structures that the student can be asked about, with their labels and its answers."""
    if "general" not in evidence.kept:
        atoms = evidence.stats.atoms
        rows = np.random.default_rng(evidence.seed).permutation(np.flatnonzero((atoms > 1) & (atoms <= MOST_ATOMS)))[:MOST]
        structures = [evidence.dataset[int(k)] for k in np.sort(rows)]
        found = _student().label([s.with_(labels=None) for s in structures]) if structures else []
        evidence.kept["general"] = [
            (s, s.labels, answer)
            for s, answer in zip(structures, found, strict=True)
            if isinstance(answer, Labels) and s.labels is not None
        ]
    known: list[Answered] = evidence.kept["general"]
    return known


@cache
def _student() -> Teacher:
    return parse_teacher({"name": "ase", "calculator": CALCULATOR}).load()
