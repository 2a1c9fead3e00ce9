"""Labels beside those of the student ``general``: of other atoms, axes, signs or frames than their structures.

Forces in another order of the atoms, a component that was lost, shear stresses in another order and energies of other
frames agree with any repetition of them. ``general`` knows better: right forces of 89 elements follow its own.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from potstill.audit.beside_general import (
    CORRELATED,
    FEWEST,
    TOO_FEW,
    Answered,
    Energies,
    answers,
    correlation,
    energies_beside,
)
from potstill.audit.evidence import Evidence
from potstill.audit.needs import LABELS, NOBODY_TO_ASK
from potstill.audit.registry import check
from potstill.core.types import Array, Labels, Structure
from potstill.core.verdict import Finding, at_least, does_not_apply, warned

FEWEST_ATOMS, FEWEST_IN_MOLECULE = 40, 3  # two near their minimum have one sign or the other
SMALL_EV_PER_ANGSTROM = 0.2  # root mean square of general's: its error is as large, as at minima
SMALL = 0.1  # of the largest component: the third one of planar molecules; of general's: at minima
NOISE = 0.01  # eV/Å: less is rounding
FOLLOWING, REVERSED = 0.9, -0.5  # median over structures, and of the reversed ones
HALF = 0.5  # of the median length: smaller forces are not judged one by one
FEWEST_STRESSES = 10
LIKE_ANOTHER, LESS_LIKE_OWN = 0.7, 0.3
SEVERAL, SAME = 2, 0.9  # components in another order, and their correlation with those, that no true stress has
SMALL_SHEAR, LEAST_SHEAR = 0.05, 1e-4  # of the largest component, and eV/Å^3
SPREAD_EV_PER_ATOM = 0.15  # of general, well above its error
PER_ATOM = 0.9
AXES = "xyz"
SHEAR = {"yz": (1, 2), "xz": (0, 2), "xy": (0, 1)}


@check(
    "labels",
    unit="correlation",
    needs=(LABELS, NOBODY_TO_ASK),
    gates=("min_label_correlation",),
    mend="labels do not belong to their atoms, axes or frames: look at the order, the signs and the columns in your export",
)
def labels_follow_general(evidence: Evidence) -> Finding:
    """Compare forces, shear stresses and energies with those of ``general`` by their correlation.

    The check only warns, but for shear stresses that are those of general in another order. The figure is the smallest: of
    the three components of the forces, of structures whose forces alone are reversed, of shear stresses that follow another
    component, and of energies where they spread.
    """
    limit = evidence.gates.min_label_correlation
    answered = [x for x in answers(evidence) if _tells(*x)]
    if len(answered) < FEWEST or sum(len(s) for s, _, _ in answered) < FEWEST_ATOMS:
        why = TOO_FEW.format(FEWEST) + f", or of fewer than {FEWEST_ATOMS} atoms together"
        return does_not_apply("labels_follow_general", "correlation", why)
    found, reasons = _components(answered, limit)
    reversed_ones = _reversed(answered)
    if reversed_ones:
        found += list(reversed_ones.values())
        reasons.append(f"those of {len(reversed_ones)} of {len(answered)} structures are opposite to general's")
    shear = _shear(answered, limit)
    if shear:
        found += [own for own, _, _ in shear.values()]
        order = ", ".join(f"{name} follows {other}" for name, (_, other, _) in shear.items())
        reasons.append(f"shear stresses are in another order: {order}")
    energies = energies_beside(answered)
    if energies and (told := _energies(energies, limit)):
        found.append(energies.correlation)
        reasons.append(told)
    if not found:
        why = "forces are as small as the error of general, so whether they follow says nothing"
        return does_not_apply("labels_follow_general", "correlation", why)
    why = f"smallest correlation of {len(answered)} structures with general: {min(found):.2g}"
    worst = sorted(reversed_ones, key=reversed_ones.__getitem__)
    finding = at_least("labels_follow_general", min(found), limit, "correlation", "; ".join([why, *reasons]), worst)
    if len(shear) < SEVERAL or min(like for _, _, like in shear.values()) < SAME:
        finding = warned(finding)
    return replace(finding, covered=len(answered))


def _tells(structure: Structure, labels: Labels, answer: Labels) -> bool:
    finite = bool(np.isfinite(labels.forces).all() and np.isfinite(answer.forces).all())
    return finite and (len(structure) >= FEWEST_IN_MOLECULE or bool(structure.pbc.any()))


def _components(answered: list[Answered], limit: float) -> tuple[list[float], list[str]]:
    """Return the correlations of the components of the forces, small ones left out unless they follow, and what is wrong."""
    ours, theirs = (np.concatenate(forces).astype(float) for forces in _forces(answered))
    own, size = (np.sqrt((x**2).mean(axis=0)) for x in (ours, theirs))
    judged = size >= max(SMALL_EV_PER_ANGSTROM, SMALL * float(size.max()))
    judged &= (own >= SMALL * size) | (own == 0)
    values = {axis: correlation(ours[:, k], theirs[:, k]) for k, axis in enumerate(AXES)}
    kept = [judged[k] or (value >= limit and size[k] >= NOISE) for k, value in enumerate(values.values())]
    values = {axis: value for (axis, value), keep in zip(values.items(), kept, strict=True) if keep}
    if values and max(values.values()) <= -CORRELATED:
        return list(values.values()), ["forces are minus those of general, as label_scale tells"]
    low = ", ".join(f"{axis} {value:.2f}" for axis, value in values.items() if value < limit)
    return list(values.values()), [f"forces do not follow: {low} (other atoms, axes or signs?)"] if low else []


def _forces(answered: list[Answered]) -> tuple[list[Array], list[Array]]:
    """Return the forces of each structure, and those of general."""
    return [labels.forces for _, labels, _ in answered], [answer.forces for _, _, answer in answered]


def _reversed(answered: list[Answered]) -> dict[str, float]:
    """Return the correlation of structures whose forces alone are opposite, by id; empty where most do not follow."""
    ours, theirs = (np.array([np.sqrt((f.astype(float) ** 2).mean()) for f in forces]) for forces in _forces(answered))
    large = (ours >= HALF * np.median(ours)) & (theirs >= max(HALF * float(np.median(theirs)), SMALL_EV_PER_ANGSTROM))
    rows = np.flatnonzero(large & (ours > 0))
    cosines = [float((answered[k][1].forces * answered[k][2].forces).mean() / (ours[k] * theirs[k])) for k in rows]
    if not len(rows) or np.median(cosines) < FOLLOWING:
        return {}
    return {answered[k][0].id: value for k, value in zip(rows, cosines, strict=True) if value < REVERSED}


def _shear(answered: list[Answered], limit: float) -> dict[str, tuple[float, str, float]]:
    """Return shear components that follow another one of general: correlation with its own, the other, and that with it."""
    pairs = [
        (labels.stress, answer.stress)
        for s, labels, answer in answered
        if s.pbc.all() and labels.stress is not None and answer.stress is not None and np.isfinite(labels.stress).all()
    ]
    if len(pairs) < FEWEST_STRESSES:
        return {}
    ours, theirs = (np.stack(column).astype(float) for column in zip(*pairs, strict=True))
    vary = [_varying(x) for x in (ours, theirs)]
    table = np.array([[correlation(ours[:, *i], theirs[:, *j]) for j in SHEAR.values()] for i in SHEAR.values()])
    names, found = list(SHEAR), {}
    for i, name in enumerate(names):
        own, others = float(table[i, i]), np.where(vary[1] & (np.arange(3) != i), table[i], -1.0)
        j = int(np.argmax(others))
        if vary[0][i] and own < limit and others[j] >= max(LIKE_ANOTHER, own + LESS_LIKE_OWN):
            found[name] = (own, names[j], float(others[j]))
    return found


def _varying(stress: Array) -> Array:
    """Return for each of the three shear components of (s, 3, 3) stresses whether it varies beside the others, (3,) bool."""
    spread = stress.std(axis=0)
    return np.array([spread[at] >= max(LEAST_SHEAR, SMALL_SHEAR * float(spread.max())) for at in SHEAR.values()])


def _energies(energies: Energies, limit: float) -> str:
    """Return how energies do not follow; empty where they do, or where those of general hardly differ."""
    if energies.correlation >= limit:
        return ""
    of = f"energies of {energies.structures} structures do not follow: {energies.correlation:.2f}"
    if energies.whole >= PER_ATOM:
        return f"{of}, but {energies.whole:.2f} if they are per atom or formula unit already"
    return f"{of} (of other frames, or of the opposite sign?)" if energies.spread >= SPREAD_EV_PER_ATOM else ""
