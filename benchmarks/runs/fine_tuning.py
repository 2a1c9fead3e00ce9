"""Fine-tuning from ``general`` beside training from nothing, with few labels of one system, in equal time.

    python -m benchmarks.runs.fine_tuning [--systems silicon silicon_carbide …] [--counts 25 50 100] [--start general]

The frames are copies of a system's structures, displaced as at 300 to 1,000 K and strained, labelled by 7net-0. Both
students have the same labels and are compared on frames that neither was trained on. The one from nothing is that
of the template ``my_system``; it makes as many passes as fit into the processor time of the other, which other work
on the machine changes little. Results in ``results/fine_tuning.json``; rows that are not measured again stay.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import yaml
from benchmarks.lib.common import write_results
from benchmarks.lib.held_out import HeldOut, errors
from benchmarks.runs.my_system import SYSTEMS, TEMPLATE, System

from potstill.core.types import Labels, Structure
from potstill.dataset import Records
from potstill.generate.perturb import Perturb
from potstill.student.files import count_parameters
from potstill.student.model import Student
from potstill.student.options import StudentConfig
from potstill.student.shipped import sizes_of
from potstill.teacher.sevennet import SevenNet
from potstill.train.job import TrainJob
from potstill.train.options import RATE_WITH_START, TrainConfig
from potstill.train.stage import train_student
from potstill.train.start import starting_student

HELD_OUT, EPOCHS, TRIALS = 40, 60, 4


def main() -> None:
    """One row for each system, number of labels and start."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--counts", nargs="+", type=int, default=[25, 50, 100])
    parser.add_argument("--start", default="general", help="student to go on from")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in options.systems:
        frames = labelled_frames(SYSTEMS[name], max(options.counts) + HELD_OUT)
        test = HeldOut(Records.of(frames[:HELD_OUT]), np.full(HELD_OUT, name))
        for count in options.counts:
            training = Records.of(frames[HELD_OUT : HELD_OUT + count])
            first = starting_student(options.start, training)
            known = errors(first, test)
            seconds, tuned = trained(training, StudentConfig(**sizes_of(options.start)), EPOCHS, start=first)
            passes, others, fresh = trained_for(seconds, training)
            row = {
                "system": name,
                "labels": count,
                "start": options.start,
                "before": short(known),
                "fine_tuned": _row(tuned, test, seconds, EPOCHS),
                "from_nothing": _row(fresh, test, others, passes),
            }
            print(json.dumps(row), file=sys.stderr, flush=True)
            print(write_results("fine_tuning", [row], keep=("system", "labels", "start")))


def labelled_frames(system: System, count: int) -> list[Structure]:
    """Displaced copies with labels of the teacher, those that it refuses left out."""
    options = SevenNet(weights="7net-0")
    structures = [
        Structure.from_ase(atoms, id=f"own-{k}", source="files", family="own") for k, atoms in enumerate(system.structures())
    ]
    source = Perturb(count=count, temperatures_kelvin=(300.0, 1000.0), max_strain=0.02, teacher=options)
    drawn = [s for s in source.propose(range(count), 1, structures) if isinstance(s, Structure)]
    teacher = options.load()
    found = []
    for structure in drawn:
        (answer,) = teacher.label([structure])
        if isinstance(answer, Labels):
            found.append(structure.with_(labels=answer, source="perturb"))
    return found


def trained_for(seconds: float, training: Records) -> tuple[int, float, Student]:
    """Return passes, seconds and student of a training from nothing that takes about as long as ``seconds``.

    What a training spends besides its passes is not known beforehand, so the passes of one that took more or less
    than a tenth of the time off are set right, and it is done again.
    """
    of_template = StudentConfig(**yaml.safe_load(TEMPLATE.read_text(encoding="utf-8"))["student"])
    passes = EPOCHS
    for _ in range(TRIALS):
        spent, student = trained(training, of_template, passes)
        if abs(spent - seconds) <= 0.1 * seconds:
            break
        passes = max(1, round(passes * seconds / spent))
    return passes, spent, student


def trained(training: Records, sizes: StudentConfig, epochs: int, *, start: Student | None = None) -> tuple[float, Student]:
    """Return the processor seconds of a training, and its student."""
    rate = RATE_WITH_START if start else None
    config = TrainConfig(epochs=epochs, batch_structures=4, energy_weight=5.0, uncertainty=False, learning_rate=rate)
    with tempfile.TemporaryDirectory() as folder:
        started = process_time()
        job = TrainJob(training=training, student=sizes, config=config, folder=Path(folder), seed=1, start=start)
        student = train_student(job)
        return process_time() - started, student


def short(found: dict[str, Any]) -> dict[str, float]:
    """Return the errors that the tables show."""
    return {
        "forces_mev_per_angstrom": round(1e3 * found["forces_ev_per_angstrom"], 1),
        "of_mean_force": found["of_mean_force"],
        "energy_mev_per_atom": found["energy_mev_per_atom"],
    }


def _row(student: Student, test: HeldOut, seconds: float, epochs: int) -> dict[str, Any]:
    parameters = count_parameters(student)
    return {
        **short(errors(student, test)),
        "seconds": round(seconds, 1),
        "epochs": epochs,
        "parameters": parameters,
    }


if __name__ == "__main__":
    main()
