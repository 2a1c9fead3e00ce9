"""Train the student ``general`` and measure its errors on held-out families.

    python -m benchmarks.labelled.general DATASET FOLDER [--epochs 40] [--threads 0] [--card]

DATASET is a labelled and split ``dataset.h5``, as ``potstill run production_120k.yaml --last audit`` writes it, or that of
its first batches. FOLDER receives the student; a training that was stopped goes on there. Student and training are those of
the template ``production_120k``. Errors on ``test`` by source and element go to ``results/general.json``. ``--card`` writes
them into the model card of the package.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from time import perf_counter

import numpy as np
from benchmarks.lib.common import write_results
from benchmarks.lib.held_out import HeldOut, errors

from potstill import __version__
from potstill.config import load_config
from potstill.dataset import Dataset
from potstill.student.files import count_parameters, read_student
from potstill.train.job import TrainJob
from potstill.train.provenance import stated
from potstill.train.stage import train

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "src" / "potstill" / "templates" / "production_120k.yaml"
SEEN = 2000


def main() -> None:
    """Train where that is not done, and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, help="passes over the training families; those of the template by default")
    options = parser.parse_args()
    dataset, config = Dataset(options.dataset), load_config(CONFIG)
    section = config.train.model_copy(update={"epochs": options.epochs or config.train.epochs})
    job = TrainJob.on(dataset, config.student, section, options.folder, seed=config.seed)
    if stated(options.folder) != job.made_from():
        started = perf_counter()
        train(job, on_epoch=_say, provenance=_origin(dataset))
        print(f"trained for {perf_counter() - started:.0f} s", file=sys.stderr)
    print(write_results("general", [_row(dataset, options.folder, section.epochs)], keep=("labels",)))


def _say(epoch: int, report: dict[str, float]) -> None:
    print(epoch, json.dumps({name: round(value, 4) for name, value in report.items()}), file=sys.stderr, flush=True)


def _origin(dataset: Dataset) -> dict[str, object]:
    return {
        "dataset": json.loads(dataset.attributes["checksums"]),
        "teacher": json.loads(dataset.attributes["teacher"]),
        "potstill": __version__,
    }


def _row(dataset: Dataset, folder: Path, epochs: int) -> dict[str, object]:
    student, facts = read_student(folder)
    known = set(student.architecture.atomic_numbers)
    test = [int(k) for k in dataset.split("test") if set(dataset[int(k)].atomic_numbers.tolist()) <= known]
    seen = dataset.split("train")[:: max(1, len(dataset.split("train")) // SEEN)]
    of_seen = errors(student, HeldOut(dataset.gather(seen), dataset.sources[seen]))
    held_out = errors(student, HeldOut(dataset.gather(np.array(test)), dataset.sources[test]))
    for source, figures in held_out["per_source"].items():
        figures["seen_of_mean_force"] = of_seen["per_source"].get(source, {}).get("of_mean_force")
    return {
        "labels": len(dataset),
        "trained_on": len(dataset.split("train")),
        "elements": len(known),
        "teacher": facts["teacher"]["name"],
        "parameters": count_parameters(student),
        "epochs": epochs,
        "held_out": len(test),
        "seen_of_mean_force": of_seen["of_mean_force"],
        "seen_energy_mev_per_atom": of_seen["energy_mev_per_atom"],
        **held_out,
    }


if __name__ == "__main__":
    main()
