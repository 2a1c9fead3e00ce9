"""AdamW beside Muon: errors of students of one system from the same labels, against the processor time of their training.

    python -m benchmarks.labelled.optimizers RUN [RUN ...] [--seeds 1 2]

RUN is a run of the template ``my_system`` with active learning, as ``benchmarks.runs.my_system --folder`` leaves it. Its
config trains students, but for the optimizer and the number of epochs, on the labels before its first round. They are held
against the frames of all rounds, which the MD of its own students visited. Other work may run beside it, so times are those
of the processors. Results in ``results/optimizers.json``; rows of other systems and seeds stay.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
from benchmarks.labelled.few_labels import force_error
from benchmarks.lib.common import write_results

from potstill.config import Config, load_config
from potstill.core.types import Structure
from potstill.dataset import Dataset, Records, open_file
from potstill.deploy.student import DeployedStudent
from potstill.train.job import TrainJob
from potstill.train.options import TrainConfig
from potstill.train.stage import train_student

WAYS: dict[str, tuple[dict[str, Any], float]] = {  # options of the training, and its epochs over those of the config
    "AdamW": ({"optimizer": "adamw"}, 1.0),
    "AdamW, twice the epochs": ({"optimizer": "adamw"}, 2.0),
    "Muon": ({"optimizer": "muon"}, 1.0),
    "Muon, half the epochs": ({"optimizer": "muon"}, 0.5),
}


def section_of(config: TrainConfig, way: str) -> TrainConfig:
    """The training of a config in one of the ways."""
    options, share = WAYS[way]
    epochs = max(1, round(share * config.epochs))
    return config.model_copy(update={**options, "epochs": epochs, "uncertainty": False})


def visited(run: Path) -> list[Structure]:
    """The labelled frames of all rounds of a run."""
    files = [open_file(path) for path in sorted((run / "active_learning").glob("[0-9][0-9]/new.h5"))]
    return [file[k] for file in files for k in range(len(file))]


def trained(config: Config, dataset: Dataset, way: str, seed: int) -> tuple[DeployedStudent, float]:
    """A student from all labels of a dataset, and the processor time of its training in s."""
    begun = process_time()
    with tempfile.TemporaryDirectory() as folder:
        job = TrainJob(
            training=dataset.gather(np.arange(len(dataset))),
            watching=Records.of([]),
            student=config.student,
            config=section_of(config.train, way),
            folder=Path(folder),
            seed=seed,
        )
        student = train_student(job)
    return DeployedStudent(student, {"elements": []}, "cpu"), process_time() - begun


def main() -> None:
    """One row for each system, way and seed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", nargs="+", choices=list(WAYS), default=list(WAYS))
    options = parser.parse_args()
    for run in options.runs:
        dataset, frames, config = Dataset(run / "dataset.h5"), visited(run), load_config(run / "config.yaml")
        for seed in options.seeds:
            for way in options.only:
                student, seconds = trained(config, dataset, way, seed)
                row = {
                    "system": run.parent.name,
                    "way": way,
                    "seed": seed,
                    "labels": len(dataset),
                    "frames": len(frames),
                    "epochs": section_of(config.train, way).epochs,
                    "forces_mev_per_angstrom": round(force_error(student, frames), 2),
                    "processor_seconds": round(seconds, 1),
                }
                print(json.dumps(row), file=sys.stderr, flush=True)
                path = write_results("optimizers", [row], keep=("system", "way", "seed"))
    print(path)


if __name__ == "__main__":
    main()
