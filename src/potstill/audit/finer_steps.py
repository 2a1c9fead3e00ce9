"""Work in finer steps: pairs of near siblings whose energies do not fit the work in, whether the teacher bends there out.

The work of forces and stresses at both ends is no measure where the energy bends in between, as where a shell of neighbors
enters the teacher's cutoff under high pressure. Labels are right there if the teacher repeats those of both ends, and if its
energies fit the work in small steps.
"""

from __future__ import annotations

from collections.abc import Sequence

from potstill.audit.evidence import Evidence
from potstill.audit.repeated import label_gap
from potstill.core.types import Labels, Structure
from potstill.stats.siblings import WORK_NOISE_EV_PER_ATOM, between, gap_along

STEPS = 16
MOST_PAIRS = 32  # beyond the bound: more are no rare bends of a teacher


def bends(evidence: Evidence, structures: Sequence[int]) -> bool:
    """Return whether the teacher bends between each structure and its nearest sibling; False without a teacher.

    Parameters
    ----------
    evidence
        Data with statistics, and the teacher that is asked.
    structures
        Indices of structures whose energies do not fit the work to a sibling; none of too many are asked for.
    """
    if evidence.teacher is None or not 0 < len(structures) <= MOST_PAIRS:
        return False
    dataset, sibling = evidence.dataset, evidence.stats.sibling
    ends = [(dataset[int(k)], dataset[int(sibling[k])]) for k in structures]
    paths = [between(first, second, STEPS) for first, second in ends]
    answers = evidence.teacher().label([structure for path in paths for structure in path])
    size = STEPS + 1
    return all(
        _fits(evidence, pair, path, answers[k * size : (k + 1) * size])
        for k, (pair, path) in enumerate(zip(ends, paths, strict=True))
    )


def _fits(
    evidence: Evidence, ends: tuple[Structure, Structure], path: Sequence[Structure], answers: Sequence[object]
) -> bool:
    labels = [answer for answer in answers if isinstance(answer, Labels)]
    if len(labels) < len(path):
        return False
    same = evidence.gates.max_replay_force_ev_per_angstrom
    if not all(label_gap(end, again) <= same for end, again in zip(ends, (labels[0], labels[-1]), strict=True)):
        return False
    gap, bound = gap_along(path, labels)
    return gap <= evidence.gates.max_energy_work_ratio * (bound + WORK_NOISE_EV_PER_ATOM)
