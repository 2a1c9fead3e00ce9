"""Hold the expected errors of a student against its true ones, on held-out families of each source.

    python -m benchmarks.labelled.uncertainty DATASET [--student general]

DATASET is the labelled and split ``dataset.h5`` that the student was trained on. A row for all of ``test`` and for each of
its sources states the share of atoms whose error is within the student's bound of 90 %, the AUROC for errors above three
times the median, and the mean expected error over the mean true one. The row ``cost`` has the time of a call with expected
errors over that of one without. Rows go to ``results/uncertainty.json``. How well the
expected errors hold in MD stands in the rows of ``my_system.json`` and ``general_md.json``.
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

from potstill.core.types import Array, Structure
from potstill.dataset import Dataset
from potstill.deploy.student import DeployedStudent, load_student
from potstill.student.uncertainty import judge

AT_ONCE = 64  # structures
FEWEST_ATOMS = 200  # of a source that is judged
CALLS = 50  # pairs of timed calls, of which a fifth warms up


def main() -> None:
    """Measure all sources, one row each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--student", default="general")
    options = parser.parse_args()
    dataset, student = Dataset(options.dataset), load_student(options.student)
    if student.uncertainty is None:
        parser.error(f"{options.student} predicts no uncertainty")
    rows = list(measured(dataset, student))
    print(write_results("uncertainty", [{"student": options.student, **row} for row in rows], keep=("student", "source")))


def measured(dataset: Dataset, student: DeployedStudent) -> Iterator[dict[str, Any]]:
    """Yield a row for all held-out families, and one for each source with enough atoms."""
    known = set(student.model.architecture.atomic_numbers)
    chosen = [int(k) for k in dataset.split("test") if set(dataset[int(k)].atomic_numbers.tolist()) <= known]
    expected, errors = _of(student, dataset, chosen)
    source = np.repeat(dataset.sources[chosen].astype(str), [len(dataset[k]) for k in chosen])
    yield {"source": "cost", "call_over_one_without": round(_cost(student), 3)}
    yield {"source": "all", "structures": len(chosen), **_row(student, expected, errors)}
    for name in np.unique(source).tolist():
        its = source == name
        if its.sum() >= FEWEST_ATOMS:
            count = int((dataset.sources[chosen].astype(str) == name).sum())
            yield {"source": name, "structures": count, **_row(student, expected[its], errors[its])}


def _of(student: DeployedStudent, dataset: Dataset, chosen: list[int]) -> tuple[Array, Array]:
    """Return (N,) expected errors and (N,) lengths of true ones in eV/Å."""
    expected, errors = [], []
    for start in range(0, len(chosen), AT_ONCE):
        some = [dataset[k] for k in chosen[start : start + AT_ONCE]]
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
