"""What lowers the error of a student of one system by as many labels: finer angles, Hessian products, and others.

    python -m benchmarks.labelled.few_labels RUN [--until 4] [--only NAME ...]

RUN is a run of the template ``my_system`` with active learning, as ``benchmarks.runs.my_system --folder`` leaves it. Each
way trains from random weights on the labels after the round ``--until``, with a product for each label. It is held against
the frames that the student of RUN visited in the rounds after it. The errors are mean absolute errors of force components.
The time of a step is that of an evaluation with its neighbor list, on one thread. Results in ``results/few_labels.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
from benchmarks.lib.common import write_results

from potstill.core.types import Structure
from potstill.dataset import Records, open_file
from potstill.deploy.student import DeployedStudent
from potstill.student.model import Student
from potstill.student.options import StudentConfig
from potstill.teacher import load_teacher
from potstill.teacher.extras import add_extras
from potstill.train.job import TrainJob
from potstill.train.options import TrainConfig
from potstill.train.stage import train_student

AT_ONCE = 4
STUDENT = {"tier": "nano", "cutoff_angstrom": 5.0}
TRAIN = {"epochs": 100, "batch_structures": 4, "energy_weight": 5.0, "uncertainty": False}


@dataclass(frozen=True, slots=True)
class Way:
    """Options of the student and of its training beside those of the template as it was."""

    student: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)


WAYS = {
    "l_max 2": Way(),
    "l_max 3": Way({"l_max": 3}),
    "l_max 2, Hessian products": Way({}, {"hessian_weight": 0.5}),
    "l_max 3, Hessian products": Way({"l_max": 3}, {"hessian_weight": 0.5}),
    "l_max 3, Hessian products, local energies": Way({"l_max": 3}, {"hessian_weight": 0.5, "local_energies_weight": 1.0}),
    "local energies": Way({}, {"local_energies_weight": 1.0}),
    "weight decay 0.1": Way({}, {"weight_decay": 0.1}),
    "300 epochs": Way({}, {"epochs": 300}),
    "cutoff 6 Å": Way({"cutoff_angstrom": 6.0}),
    "tier small": Way({"tier": "small"}),
    "three layers, l_max 3": Way({"l_max": 3, "layers": 3}),
}


def labelled_again(structures: list[Structure]) -> list[Structure]:
    """Structures with the labels of 7net-0, local energies and a Hessian product each."""
    teacher, bare = load_teacher("sevennet"), [s.with_(labels=None) for s in structures]
    found = []
    for start in range(0, len(bare), AT_ONCE):
        some = bare[start : start + AT_ONCE]
        answers = add_extras(["local_energies", "hessian_vector_products"], teacher, [], some, teacher.label(some))
        found += [s.with_(labels=answer) for s, answer in zip(some, answers, strict=True)]
    return found


def force_error(student: DeployedStudent, frames: list[Structure]) -> float:
    """Mean absolute error of a force component in meV/Å."""
    found = student.label([s.with_(labels=None) for s in frames])
    errors = [(a.forces - s.labels.forces).ravel() for a, s in zip(found, frames, strict=True) if s.labels]
    return 1e3 * float(np.abs(np.concatenate(errors)).mean())


def step_seconds(students: list[DeployedStudent], structure: Structure) -> list[float]:
    """Median processor time of one evaluation of each student, in turn, each time with other positions."""
    seconds: list[list[float]] = [[] for _ in students]
    for k in range(40):
        noise = np.random.default_rng(k).normal(0.0, 0.05, structure.positions.shape)
        moved = structure.with_(positions=structure.positions + noise, labels=None)
        for taken, student in zip(seconds, students, strict=True):
            begun = process_time()
            student.label([moved])
            taken.append(process_time() - begun)
    return [float(np.median(taken[5:])) for taken in seconds]


def main() -> None:
    """One student for each way, from the same labels and the same number of epochs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--until", type=int, default=4, help="round whose dataset is trained on")
    parser.add_argument("--only", nargs="+", choices=list(WAYS), default=list(WAYS))
    options = parser.parse_args()
    rounds = options.run / "active_learning"
    dataset = open_file(rounds / f"{options.until:02d}" / "dataset.h5")
    parts = {part: [dataset[int(k)] for k in dataset.split(part)] for part in ("train", "valid")}
    later = sorted(path for path in rounds.glob("[0-9][0-9]/new.h5") if int(path.parent.name) > options.until)
    frames = [file[k] for file in map(open_file, later) for k in range(len(file))]
    begun = perf_counter()
    records = {part: Records.of(labelled_again(structures)) for part, structures in parts.items()}
    print(f"labelled in {perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
    rows: list[dict[str, Any]] = []
    students: list[DeployedStudent] = []
    for name in options.only:
        way = WAYS[name]
        begun = process_time()
        with tempfile.TemporaryDirectory() as folder:
            job = TrainJob(
                training=records["train"],
                watching=records["valid"],
                student=StudentConfig.model_validate(STUDENT | way.student),
                config=TrainConfig.model_validate(TRAIN | way.train),
                folder=Path(folder),
                seed=1,
            )
            trained: Student = train_student(job)
        students.append(DeployedStudent(trained, {"elements": []}, "cpu"))
        row = {
            "way": name,
            "labels": len(parts["train"]),
            "frames": len(frames),
            "forces_mev_per_angstrom": round(force_error(students[-1], frames), 2),
            "processor_seconds": round(process_time() - begun, 1),
        }
        print(json.dumps(row), file=sys.stderr, flush=True)
        rows.append(row)
    for row, seconds in zip(rows, step_seconds(students, frames[0]), strict=True):
        row["step_ms"] = round(1e3 * seconds, 3)
    print(write_results("few_labels", rows, keep=("way",)))


if __name__ == "__main__":
    main()
