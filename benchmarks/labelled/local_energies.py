"""What the teacher's local energies are worth: students of many elements with and without their loss.

    python -m benchmarks.labelled.local_energies DATASET [--labels 4000 16000] [--weights 0 1] [--visits 130000]

DATASET is a labelled and split ``dataset.h5`` of a run with ``label.extra: [local_energies]``; they come with the labels and
cost no call of the teacher. From the same structures, in the same order and by the same number of steps, students are
trained with each ``local_energies_weight``; the other options are those of the template ``production_120k``. All are held
against ``valid`` and ``test``, whose compositions were not trained on. Results in ``results/local_energies.json``; rows of
other numbers of labels and other weights stay.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks.labelled.general import CONFIG
from benchmarks.lib.common import write_results
from benchmarks.lib.held_out import drawn, fit, held_out_of, short_training

from potstill.config import load_config
from potstill.dataset import Dataset


def main() -> None:
    """One row for each number of labels and weight."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--labels", type=int, nargs="+", default=[4000, 16000])
    parser.add_argument("--weights", type=float, nargs="+", default=[0.0, 1.0])
    parser.add_argument("--visits", type=int, default=130_000, help="structures that the steps of a training see in all")
    parser.add_argument("--batch-structures", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    dataset, config = Dataset(options.dataset), load_config(CONFIG)
    held_out = held_out_of(dataset)
    for labels in options.labels:
        some = drawn(dataset, labels, options.seed)
        training = short_training(config.train, options.visits, len(some), options.batch_structures)
        for weight in options.weights:
            section = training.model_copy(update={"local_energies_weight": weight})
            found = fit(some, config.student, section, held_out, seed=options.seed)
            row = {"seed": options.seed, "weight": weight, "batch_structures": options.batch_structures, **found}
            print(json.dumps(row), file=sys.stderr, flush=True)
            path = write_results("local_energies", [row], keep=["labels", "weight", "seed"])
    print(path)


if __name__ == "__main__":
    main()
