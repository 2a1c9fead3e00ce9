"""Labels beside those of the student ``general``: of another size, or with an offset in some structures.

Energies, forces and stresses in Hartree, Hartree/Å and Hartree/Å^3 agree with each other, so no other check finds them. An
offset of the energies of some compositions agrees with the forces, and with any repetition. ``general`` knows 89 elements.
It is right to some tens of per cent in forces and some 0.1 eV/atom in energies: enough to tell either.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from potstill.audit.evidence import Evidence
from potstill.audit.needs import LABELS, NOBODY_TO_ASK
from potstill.audit.registry import check
from potstill.core.types import Array, Labels, Structure, Teacher
from potstill.core.verdict import Finding, Verdict, at_most, does_not_apply, warned
from potstill.teacher.choices import parse_teacher

MOST, MOST_ATOMS = 30, 200
FEWEST = 5
FEWEST_ENERGIES, FEWEST_FAR = 12, 3
APART_EV_PER_ATOM, FAR = 0.6, 10.0  # the latter of the median
ITERATIONS, SMALLEST_REST = 50, 1e-3  # eV/atom
CORRELATED = 0.7
CALCULATOR = "potstill.deploy:student_calculator"  # of the student general


@check(
    "labels",
    unit="times",
    needs=(LABELS, NOBODY_TO_ASK),
    gates=("max_label_scale",),
    mend="labels are of another size or sign than general's: convert them to eV, eV/Å and eV/Å^3 (1 Hartree is 27.2 eV)",
)
def label_scale(evidence: Evidence) -> Finding:
    """Fit the slope of the forces on those of ``general``: far from 1 in another unit, negative for gradients.

    The check only warns of another size.
    """
    pairs = [(labels.forces.ravel(), answer.forces.ravel()) for _, labels, answer in _answers(evidence, MOST)]
    if len(pairs) < FEWEST:
        why = f"fewer than {FEWEST} structures of at most {MOST_ATOMS} atoms and of elements that general knows"
        return does_not_apply("label_scale", "times", why)
    ours, theirs = (np.concatenate(column).astype(float) for column in zip(*pairs, strict=True))
    keep = np.isfinite(ours) & np.isfinite(theirs)
    yy, xy, xx = (float(u[keep] @ v[keep]) for u, v in ((ours, ours), (theirs, ours), (theirs, theirs)))
    if abs(xy) < CORRELATED * np.sqrt(xx * yy) or not xy:
        return does_not_apply("label_scale", "times", "forces do not follow those of general, so their size says nothing")
    slope = xy / xx
    why = f"forces of {len(pairs)} structures are {slope:.3g} times those of general; another unit gives 13 or more, or 1/13"
    if slope < 0:
        why = f"forces of {len(pairs)} structures are minus those of general ({slope:.3g} times), as gradients are"
        return replace(at_most("label_scale", slope, evidence.gates.max_label_scale, "times", why), verdict=Verdict.NO_GO)
    return warned(at_most("label_scale", max(slope, 1 / slope), evidence.gates.max_label_scale, "times", why))


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
    known = [(s, labels, answer) for s, labels, answer in _answers(evidence, 2 * MOST) if np.isfinite(labels.energy)]
    if len(known) < FEWEST_ENERGIES:
        why = f"fewer than {FEWEST_ENERGIES} structures of at most {MOST_ATOMS} atoms and of elements that general knows"
        return does_not_apply("energies_apart", "of the structures", why)
    elements = np.unique(np.concatenate([s.atomic_numbers for s, _, _ in known]))
    fractions = np.array([[(s.atomic_numbers == z).mean() for z in elements] for s, _, _ in known])
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


def _answers(evidence: Evidence, most: int) -> list[tuple[Structure, Labels, Labels]]:
    """Return some structures that the student can be asked about, with their labels and its answers."""
    atoms = evidence.stats.atoms
    rows = np.random.default_rng(evidence.seed).permutation(np.flatnonzero((atoms > 1) & (atoms <= MOST_ATOMS)))[:most]
    structures = [evidence.dataset[int(k)] for k in np.sort(rows)]
    answers = _student().label([s.with_(labels=None) for s in structures]) if structures else []
    return [
        (s, s.labels, answer)
        for s, answer in zip(structures, answers, strict=True)
        if isinstance(answer, Labels) and s.labels is not None
    ]


@cache
def _student() -> Teacher:
    return parse_teacher({"name": "ase", "calculator": CALCULATOR}).load()
