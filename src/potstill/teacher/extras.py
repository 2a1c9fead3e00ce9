"""Labels beyond energy, forces and stress, computed from the answers of any teacher.

Takes structures with their labels and returns labels with arrays per atom in ``Labels.extra``. It returns a refusal where
one of the further calls was refused, because a dataset has an extra for all of its structures or for none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from typing import Literal

import numpy as np

from potstill.core.types import Array, Labels, Refused, Structure, Teacher

Extra = Literal["local_energies", "node_embeddings", "hessian_vector_products", "force_disagreement"]
GIVEN = ("local_energies", "node_embeddings")  # returned with the labels, by a teacher that has them
STEP_ANGSTROM = 0.005  # root mean square of a displacement
Answers = list[Labels | Refused]


def add_extras(
    wanted: Sequence[Extra],
    teacher: Teacher,
    committee: Sequence[Teacher],
    structures: Sequence[Structure],
    answers: Sequence[Labels | Refused],
) -> Answers:
    """Add the wanted extras to labels, and drop any others.

    Parameters
    ----------
    wanted
        Names. ``hessian_vector_products`` needs two more calls of the teacher per structure, ``force_disagreement`` one call
        of each further teacher.
    teacher
        Teacher that gave the answers.
    committee
        Further teachers, for ``force_disagreement``.
    structures, answers
        Structures and the teacher's answers, in the same order.
    """
    found: Answers = list(answers)
    unwanted = set(GIVEN) - set(wanted)
    found = [_without(a, unwanted) if isinstance(a, Labels) else a for a in found]
    if "hessian_vector_products" in wanted:
        found = _each_labelled(structures, found, lambda some, labels: _hessian_vector_products(teacher, some, labels))
    if "force_disagreement" in wanted:
        found = _each_labelled(structures, found, lambda some, labels: _force_disagreement(committee, some, labels))
    return [a if isinstance(a, Refused) else _complete(a, wanted) for a in found]


def direction_of(structure: Structure) -> Array:
    """Return a random direction (n, 3) in the space of all coordinates, of root mean square 1, fixed by the id."""
    words = np.frombuffer(hashlib.sha256(structure.id.encode()).digest()[:16], dtype=np.uint32)
    v = np.random.default_rng(words.tolist()).normal(size=(len(structure), 3))
    return np.asarray(v / np.sqrt((v**2).mean()))


def _hessian_vector_products(teacher: Teacher, structures: Sequence[Structure], labels: Sequence[Labels]) -> Answers:
    """Compute Hv = -(F(x + h v) - F(x - h v)) / 2h, with ``hessian_directions`` v and ``hessian_products`` in eV/Å^2.

    The cell is fixed. Learning from such products is that of Amin, Raja and Krishnapriyan, "Towards fast, specialized
    machine learning force fields", ICLR (2025).
    """
    directions = [direction_of(s) for s in structures]
    forward, backward = (
        teacher.label([s.with_(positions=s.positions + sign * v) for s, v in zip(structures, directions, strict=True)])
        for sign in (STEP_ANGSTROM, -STEP_ANGSTROM)
    )
    found: Answers = []
    for known, v, ahead, behind in zip(labels, directions, forward, backward, strict=True):
        if isinstance(ahead, Labels) and isinstance(behind, Labels):
            product = (behind.forces - ahead.forces) / (2 * STEP_ANGSTROM)
            found.append(_with(known, hessian_directions=v, hessian_products=product))
        else:
            found.append(_first_refusal("displaced", (ahead, behind)))
    return found


def _force_disagreement(committee: Sequence[Teacher], structures: Sequence[Structure], labels: Sequence[Labels]) -> Answers:
    """Return (n,) root mean squares over the teachers of the difference of a force from their mean, in eV/Å."""
    others = [member.label(structures) for member in committee]
    found: Answers = []
    for k, known in enumerate(labels):
        answers = [answer[k] for answer in others]
        forces = [known.forces, *(a.forces for a in answers if isinstance(a, Labels))]
        if len(forces) <= len(committee):
            found.append(_first_refusal("committee", answers))
            continue
        gap = np.stack(forces) - np.mean(forces, axis=0)
        found.append(_with(known, force_disagreement=np.sqrt((gap**2).sum(axis=-1).mean(axis=0))))
    return found


def _each_labelled(
    structures: Sequence[Structure],
    answers: Answers,
    more: Callable[[Sequence[Structure], Sequence[Labels]], Answers],
) -> Answers:
    """Call ``more`` for the structures that have labels; the others stay refused."""
    labelled = [(s, a) for s, a in zip(structures, answers, strict=True) if isinstance(a, Labels)]
    given = iter(more([s for s, _ in labelled], [a for _, a in labelled]))
    return [next(given) if isinstance(a, Labels) else a for a in answers]


def _complete(labels: Labels, wanted: Sequence[Extra]) -> Labels | Refused:
    for name in GIVEN:
        if name in wanted and name not in labels.extra:
            return Refused(f"no_{name}", f"the teacher predicts no {name}")
    if not all(np.isfinite(rows).all() for rows in labels.extra.values()):
        return Refused("not_finite", f"{' or '.join(labels.extra)} are not finite")
    return labels


def _with(labels: Labels, **extra: Array) -> Labels:
    return Labels(labels.energy, labels.forces, labels.stress, {**labels.extra, **extra})


def _without(labels: Labels, names: Collection[str]) -> Labels:
    return Labels(labels.energy, labels.forces, labels.stress, {k: v for k, v in labels.extra.items() if k not in names})


def _first_refusal(what: str, answers: Sequence[Labels | Refused]) -> Refused:
    first = next(a for a in answers if isinstance(a, Refused))
    return Refused(f"{what}_{first.reason}", first.detail)
