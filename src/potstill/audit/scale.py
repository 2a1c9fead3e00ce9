"""Size of forces whose teacher nobody can ask: compared with those of the student ``general``.

Energies, forces and stresses in Hartree, Hartree/Å and Hartree/Å^3 agree with each other, so no other check finds them.
``general`` knows 89 elements, and its forces are right to some tens of per cent: enough to tell a factor of ten or more.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from potstill.audit.evidence import Evidence
from potstill.audit.needs import LABELS, NOBODY_TO_ASK
from potstill.audit.registry import check
from potstill.core.types import Array, Labels, Teacher
from potstill.core.verdict import Finding, at_most, does_not_apply, warned
from potstill.teacher.choices import parse_teacher

MOST, MOST_ATOMS = 30, 200
FEWEST = 5
CORRELATED = 0.7
CALCULATOR = "potstill.deploy:student_calculator"  # of the student general


@check(
    "labels",
    unit="times",
    needs=(LABELS, NOBODY_TO_ASK),
    gates=("max_label_scale",),
    mend="labels are of another size than those of general: convert them to eV, eV/Å and eV/Å^3 (1 Hartree is 27.2 eV)",
)
def label_scale(evidence: Evidence) -> Finding:
    """Fit the slope of the forces on those of ``general``: far from 1 in another unit. The check only warns."""
    pairs = _forces(evidence)
    if len(pairs) < FEWEST:
        why = f"fewer than {FEWEST} structures of at most {MOST_ATOMS} atoms and of elements that general knows"
        return does_not_apply("label_scale", "times", why)
    ours, theirs = (np.concatenate(column) for column in zip(*pairs, strict=True))
    keep = np.isfinite(ours) & np.isfinite(theirs)
    yy, xy, xx = (float(u[keep] @ v[keep]) for u, v in ((ours, ours), (theirs, ours), (theirs, theirs)))
    if xy < CORRELATED * np.sqrt(xx * yy) or not xy:
        return does_not_apply("label_scale", "times", "forces do not follow those of general, so their size says nothing")
    slope = xy / xx
    why = f"forces of {len(pairs)} structures are {slope:.3g} times those of general; another unit gives 13 or more, or 1/13"
    return warned(at_most("label_scale", max(slope, 1 / slope), evidence.gates.max_label_scale, "times", why))


def _forces(evidence: Evidence) -> list[tuple[Array, Array]]:
    """Return labelled forces and those of the student, each (3n,), of some structures that it can be asked about."""
    atoms = evidence.stats.atoms
    rows = np.random.default_rng(evidence.seed).permutation(np.flatnonzero((atoms > 1) & (atoms <= MOST_ATOMS)))[:MOST]
    structures = [evidence.dataset[int(k)] for k in np.sort(rows)]
    answers = _student().label([s.with_(labels=None) for s in structures]) if structures else []
    return [
        (s.labels.forces.ravel().astype(float), answer.forces.ravel().astype(float))
        for s, answer in zip(structures, answers, strict=True)
        if isinstance(answer, Labels) and s.labels is not None
    ]


@cache
def _student() -> Teacher:
    return parse_teacher({"name": "ase", "calculator": CALCULATOR}).load()
