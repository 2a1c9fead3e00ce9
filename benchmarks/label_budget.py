"""What labels are worth: the error of a student by the number of labels, chosen at random or as ``label.select`` does.

    python benchmarks/label_budget.py DATASET [--counts 500 1000] [--by random farthest] [--epochs 20] [--tier nano]

DATASET is a labelled and split ``dataset.h5``. Structures are chosen among those of ``train``; all students take as many
steps as the one of most labels, and are held against ``valid`` and ``test``.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from common import write_results

from potstill.config import TrainConfig
from potstill.dataset import Dataset, Records
from potstill.dataset.combine import write_subset
from potstill.label.select import SelectOptions, choose
from potstill.student.config import StudentConfig
from potstill.student.model import Student
from potstill.train.data import LabelledStructures
from potstill.train.losses import mean_errors
from potstill.train.stage import train_records

CUTOFF_ANGSTROM = 4.5
BATCH = 32


def errors(student: Student, held_out: Records) -> dict[str, float]:
    """Mean errors over atoms (forces) and structures (energy)."""
    data = LabelledStructures(held_out, CUTOFF_ANGSTROM)
    energy = forces = 0.0
    for start in range(0, len(data), BATCH):
        batch = data[np.arange(start, min(start + BATCH, len(data)))]
        found = mean_errors(student.predict(batch.inputs), batch)
        energy += float(found["energy"]) * len(batch.energy)
        forces += float(found["forces"]) * len(batch.forces)
    return {
        "forces_ev_per_angstrom": round(forces / int(data.sizes.sum()), 4),
        "energy_mev_per_atom": round(1e3 * energy / len(data), 2),
    }


def main() -> None:
    """One student for each number of labels, way to choose them, and seed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--counts", type=int, nargs="+", default=[625, 1250, 2500, 5000])
    parser.add_argument("--by", nargs="+", default=["random", "farthest"], choices=["random", "farthest"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--epochs", type=int, default=15, help="of the largest number of labels")
    parser.add_argument("--tier", default="nano")
    parser.add_argument("--name", default="label_budget")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    dataset = Dataset(options.dataset)
    held_out = dataset.gather(np.concatenate([dataset.split("valid"), dataset.split("test")]))
    config = TrainConfig(energy_weight=5.0, weight_decay=0.02, uncertainty=False)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        pool = Path(scratch) / "pool.h5"
        write_subset(dataset, dataset.split("train"), pool)
        training = Dataset(pool)
        largest = min(max(options.counts), len(training))
        for by, wanted, seed in [(b, c, s) for c in options.counts for b in options.by for s in options.seeds]:
            count = min(wanted, len(training))
            chosen = choose(training, SelectOptions(count=count, by=by), seed=seed)
            epochs = max(1, round(options.epochs * largest / count))
            student = train_records(
                training.gather(chosen),
                Records.of([]),
                StudentConfig(tier=options.tier, cutoff_angstrom=CUTOFF_ANGSTROM),
                config.model_copy(update={"epochs": epochs}),
                Path(scratch) / f"{by}-{count}-{seed}",
                seed=seed,
            )
            known = [k for k in range(len(held_out)) if _known(held_out, k, student)]
            row = {"by": by, "labels": count, "seed": seed, "epochs": epochs, "held_out": len(known)}
            rows.append(row | errors(student, held_out.gather(np.array(known))))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    print(write_results(options.name, rows))


def _known(records: Records, k: int, student: Student) -> bool:
    numbers = records.atomic_numbers[records.ptr[k] : records.ptr[k + 1]]
    return set(numbers.tolist()) <= set(student.architecture.atomic_numbers)


if __name__ == "__main__":
    main()
