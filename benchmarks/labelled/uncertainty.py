"""Hold the expected errors of a student against its true ones, on held-out families of each source.

    python -m benchmarks.labelled.uncertainty DATASET [--student general] [--share 0.095]

DATASET is the labelled and split ``dataset.h5`` that the student was trained on; its part ``test`` is judged. With
``--share``, DATASET may be any new structures of the same template, without labels. Then those families are judged which
the split of the training data put first: the place of a family depends on its name and the seed alone, and the first
tenth of all families was held out. 7net-0 labels them. A row for all and for each source
states the share of atoms whose error is within the student's bound of 90 %, the AUROC for errors above three times the
median, and the mean expected error over the mean true one. The row ``cost`` has the time of a call with expected errors
over that of one without. Rows go to ``results/uncertainty.json``. How well the expected errors hold in MD stands in the
rows of ``my_system.json`` and ``general_md.json``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from ase.build import bulk
from benchmarks.lib.common import write_results

from potstill.core.types import Array, Labels, Structure
from potstill.dataset import Dataset
from potstill.dataset.split import digest_of
from potstill.deploy.student import DeployedStudent, load_student
from potstill.label.options import LabelConfig
from potstill.student.uncertainty import judge
from potstill.teacher.sevennet import SevenNet

AT_ONCE = 64  # structures
FEWEST_ATOMS = 200  # of a source that is judged
CALLS = 50  # pairs of timed calls, of which a fifth warms up


def main() -> None:
    """Measure all sources, one row each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--student", default="general")
    parser.add_argument("--share", type=float, help="label and judge the families that the split put below this share")
    parser.add_argument("--seed", type=int, default=0, help="seed of that split")
    options = parser.parse_args()
    dataset, student = Dataset(options.dataset), load_student(options.student)
    if student.uncertainty is None:
        parser.error(f"{options.student} predicts no uncertainty")
    known = set(student.model.architecture.atomic_numbers)
    if options.share is None:
        chosen = [dataset[int(k)] for k in dataset.split("test")]
    else:
        chosen = labelled(
            [s for s in dataset if len(set(s.atomic_numbers.tolist())) > 1 and place(s.family, options.seed) < options.share]
        )
    chosen = [structure for structure in chosen if set(structure.atomic_numbers.tolist()) <= known]
    rows = list(measured(chosen, student))
    print(write_results("uncertainty", [{"student": options.student, **row} for row in rows], keep=("student", "source")))


def place(family: str, seed: int) -> float:
    """Return the place of a family in the order of a split, from 0 to 1; see ``potstill.dataset.split``."""
    return int.from_bytes(digest_of(family, seed)[:8], "big") / 2**64


def labelled(structures: list[Structure]) -> list[Structure]:
    """Label structures by 7net-0, and leave those out that ``potstill label`` refuses at its default limits."""
    teacher, limits = SevenNet(weights="7net-0").open(), LabelConfig()
    found = []
    for start in range(0, len(structures), AT_ONCE):
        some = structures[start : start + AT_ONCE]
        for structure, labels in zip(some, teacher.label(some), strict=True):
            if (
                not isinstance(labels, Labels)
                or np.linalg.norm(labels.forces, axis=1).max() > limits.max_force_ev_per_angstrom
            ):
                continue
            if labels.stress is None or np.abs(labels.stress).max() <= limits.max_stress_ev_per_cubic_angstrom:
                found.append(structure.with_(labels=labels))
    return found


def measured(chosen: list[Structure], student: DeployedStudent) -> Iterator[dict[str, Any]]:
    """Yield a row for all labelled structures, and one for each source with enough atoms."""
    expected, errors = _of(student, chosen)
    sources = np.array([structure.source for structure in chosen])
    source = np.repeat(sources, [len(structure) for structure in chosen])
    yield {"source": "cost", "call_over_one_without": round(_cost(student), 3)}
    yield {"source": "all", "structures": len(chosen), **_row(student, expected, errors)}
    for name in np.unique(source).tolist():
        its = source == name
        if its.sum() >= FEWEST_ATOMS:
            yield {"source": name, "structures": int((sources == name).sum()), **_row(student, expected[its], errors[its])}


def _of(student: DeployedStudent, chosen: list[Structure]) -> tuple[Array, Array]:
    """Return (N,) expected errors and (N,) lengths of true ones in eV/Å."""
    expected, errors = [], []
    for start in range(0, len(chosen), AT_ONCE):
        some = chosen[start : start + AT_ONCE]
        for structure, found in zip(some, student.label(some, uncertainty=True), strict=True):
            if structure.labels is not None:
                expected.append(found.extra["uncertainty"])
                errors.append(np.linalg.norm(found.forces - structure.labels.forces, axis=1))
    return np.concatenate(expected), np.concatenate(errors)


def _cost(student: DeployedStudent) -> float:
    """Return the median ratio of times of a call with expected errors and one without, in turn, for 216 atoms of silicon."""
    atoms = bulk("Si", "diamond", a=5.43, cubic=True).repeat(3)
    ratios = []
    for seed in range(CALLS):
        seconds = []
        for wanted in (True, False):
            atoms.rattle(0.01, seed=2 * seed + wanted)  # other positions in each call
            structure = Structure.from_ase(atoms)
            started = perf_counter()
            student.label([structure], uncertainty=wanted)
            seconds.append(perf_counter() - started)
        ratios.append(seconds[0] / seconds[1])
    return float(np.median(ratios[CALLS // 5 :]))


def _row(student: DeployedStudent, expected: Array, errors: Array) -> dict[str, Any]:
    limits: Any = student.uncertainty
    judged = judge(expected, errors, float(limits.threshold), float(limits.bound))
    return {
        "atoms": len(errors),
        "mean_error_ev_per_angstrom": round(float(errors.mean()), 4),
        "over_true": round(float(expected.mean() / errors.mean()), 3),
        **{name: None if judged[name] is None else round(judged[name], 4) for name in ("within_bound", "auroc_large")},
    }


if __name__ == "__main__":
    main()
