"""Fine-tuning of ``general`` to one system with and without replay: what it learns, and what it forgets.

    python -m benchmarks.runs.replay DATASET [--systems silicon_carbide copper_nickel …] [--labels 100] [--shares 0.5 0.8]

DATASET is labelled by the teacher of ``general`` and split, as by ``potstill run production_120k.yaml --last audit``. Its
training structures are replayed, its held-out families tell what was forgotten. The system's frames are those of
:mod:`benchmarks.runs.fine_tuning`. All students have the same labels, elements and passes, so one with replay takes longer.
Results in ``results/replay.json``; rows that are not measured again stay.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from pathlib import Path
from time import process_time

import numpy as np
from benchmarks.lib.common import write_results
from benchmarks.lib.held_out import HeldOut, errors, predictable
from benchmarks.runs.fine_tuning import EPOCHS, HELD_OUT, labelled_frames, short
from benchmarks.runs.my_system import SYSTEMS

from potstill.core.types import Structure
from potstill.dataset import Dataset, Records, merge, write_part
from potstill.student.files import read_student
from potstill.student.model import Student
from potstill.student.options import StudentConfig
from potstill.student.shipped import sizes_of, student_folder
from potstill.train.job import TrainJob
from potstill.train.options import TrainConfig
from potstill.train.stage import train_student
from potstill.train.start import start_of, starting_student

START, TESTED = "general", 1000


def main() -> None:
    """One row for each system and share."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=["silicon_carbide", "copper_nickel"])
    parser.add_argument("--labels", type=int, default=100)
    parser.add_argument("--shares", nargs="+", type=float, default=[0.5, 0.8])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    general, earlier = read_student(student_folder(START))[0], Dataset(options.dataset)
    rows = predictable(earlier, "test", general)
    rows = rows[:: max(1, len(rows) // TESTED)]
    others = HeldOut(earlier.gather(rows), earlier.sources[rows])
    for name in options.systems:
        frames = labelled_frames(SYSTEMS[name], options.labels + HELD_OUT)
        own = HeldOut(Records.of(frames[:HELD_OUT]), np.full(HELD_OUT, name))
        for share in (None, 0.0, *options.shares):  # None is the start itself
            spent, student = (0.0, general) if share is None else trained(frames[HELD_OUT:], share, earlier)
            row = {
                "system": name,
                "labels": options.labels,
                "share": share,
                "epochs": 0 if share is None else EPOCHS,
                "seconds": round(spent, 1),
                "system_errors": short(errors(student, own)),
                "other_families": short(errors(student, others)) | {"structures": len(rows)},
            }
            print(json.dumps(row), file=sys.stderr, flush=True)
            print(write_results("replay", [row], keep=("system", "labels", "share")))


def trained(frames: list[Structure], share: float, earlier: Dataset) -> tuple[float, Student]:
    """Return the processor seconds of a training with a share of replayed structures, and its student of all elements."""
    replay = {"dataset": str(earlier.path), "share": share} if share else None
    config = TrainConfig.model_validate(
        {
            "start": START,
            "replay": replay,
            "epochs": EPOCHS,
            "batch_structures": 4,
            "energy_weight": 5.0,
            "uncertainty": False,
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        part, path = Path(folder) / "part.h5", Path(folder) / "dataset.h5"
        write_part(part, frames, labelled=True)
        attributes = {"teacher": earlier.attributes["teacher"]}
        merge([part], path, attributes=attributes, splits=np.zeros(len(frames), np.uint8))
        new = Dataset(path)
        every = read_student(student_folder(START))[0].architecture.atomic_numbers
        start = start_of(config, new) if share else starting_student(START, new.select("train"), also=every, align=False)
        job = TrainJob.on(new, StudentConfig(**sizes_of(START)), config, Path(folder) / "out", seed=1, start=start)
        started = process_time()
        student = train_student(job)
        return process_time() - started, student


if __name__ == "__main__":
    main()
