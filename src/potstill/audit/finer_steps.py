"""Work in finer steps: pairs of near siblings whose energies do not fit the work in, whether the teacher bends there out.

The work of forces and stresses at both ends is no measure where the energy bends in between, as where a shell of neighbors
enters the teacher's cutoff under high pressure. Labels are right there if the teacher repeats those of both ends, and if its
energies fit the work in small steps.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from potstill.audit.evidence import Evidence
from potstill.audit.repeated import label_gap
from potstill.core.types import Labels, Structure, Teacher
from potstill.stats.siblings import WORK_NOISE_EV_PER_ATOM, between, gap_along

log = logging.getLogger(__name__)

STEPS = 16
MOST_PAIRS = 32  # beyond the bound: more are no rare bends of a teacher


def bends(evidence: Evidence, structures: Sequence[int]) -> bool:
    """Return whether the teacher bends between each structure and its nearest sibling; False without a teacher.

    Parameters
    ----------
    evidence
        Data with statistics, and the teacher that is asked; one that fails tells nothing.
    structures
        Indices of structures whose energies do not fit the work to a sibling; none of too many are asked for.
    """
    if evidence.teacher is None or not 0 < len(structures) <= MOST_PAIRS:
        return False
    sibling = evidence.stats.sibling
    pairs = sorted({(min(k, int(sibling[k])), max(k, int(sibling[k]))) for k in structures})
    ends = [(evidence.dataset[a], evidence.dataset[b]) for a, b in pairs]
    try:
        teacher = evidence.teacher()
        return all(_stands(evidence, teacher, pair) for pair in ends) and all(
            _fits(evidence, teacher, pair) for pair in ends
        )
    except Exception as error:  # noqa: BLE001 - whatever a teacher raises, the finding without it stays
        log.warning("the teacher could not be asked about energies that do not fit the work: %s", error)
        return False


def _stands(evidence: Evidence, teacher: Teacher, ends: tuple[Structure, Structure]) -> bool:
    """Return whether the teacher repeats the labels of both ends, and its own do not fit either."""
    again = _labels(teacher, list(ends))
    same = evidence.gates.max_replay_force_ev_per_angstrom
    if again is None or any(label_gap(end, labels) > same for end, labels in zip(ends, again, strict=True)):
        return False
    path = between(*ends, 1)
    return not _within(evidence, path, again)


def _fits(evidence: Evidence, teacher: Teacher, ends: tuple[Structure, Structure]) -> bool:
    path = between(*ends, STEPS)
    labels = _labels(teacher, path)
    return labels is not None and _within(evidence, path, labels)


def _labels(teacher: Teacher, structures: list[Structure]) -> list[Labels] | None:
    """Return the teacher's labels, or None where it refuses one."""
    answers = teacher.label([s.with_(labels=None) for s in structures])
    labels = [answer for answer in answers if isinstance(answer, Labels)]
    return labels if len(labels) == len(structures) else None


def _within(evidence: Evidence, path: Sequence[Structure], labels: Sequence[Labels]) -> bool:
    gap, bound = gap_along(path, labels)
    return gap <= evidence.gates.max_energy_work_ratio * (bound + WORK_NOISE_EV_PER_ATOM)
