"""The error of the general student by the number of labels.

    python benchmarks/learning_curve.py DATASET [--counts 1000 2000 5000 10000] [--tier base] [--epochs 25] [--seeds 1]

DATASET is a labelled and split ``dataset.h5``, as of ``benchmarks/medium_10k.py``. Structures are drawn at random from
``train``; the largest count is all of it. All students take as many steps as that one, and are held against ``valid`` and
``test``. Results in ``results/learning_curve.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from common import write_results
from held_out import fit, held_out_of, training_part

from potstill.config import TrainConfig
from potstill.dataset import Dataset
from potstill.label.select import SelectOptions, choose
from potstill.student.config import StudentConfig


def main() -> None:
    """One student for each number of labels and seed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 2000, 5000, 10_000])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--epochs", type=int, default=25, help="of the largest number of labels")
    parser.add_argument("--tier", default="base")
    options = parser.parse_args()
    dataset = Dataset(options.dataset)
    held_out, student = held_out_of(dataset), StudentConfig(tier=options.tier)
    rows: list[dict[str, Any]] = []
    with training_part(dataset) as training:
        largest = min(max(options.counts), len(training))
        for wanted, seed in [(c, s) for c in options.counts for s in options.seeds]:
            count = min(wanted, len(training))
            config = TrainConfig(epochs=max(1, round(options.epochs * largest / count)), uncertainty=False)
            chosen = choose(training, SelectOptions(count=count, by="random"), seed=seed)
            rows.append(
                {"tier": options.tier, "seed": seed, **fit(training.gather(chosen), student, config, held_out, seed=seed)}
            )
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
            path = write_results("learning_curve", rows)
    print(path)


if __name__ == "__main__":
    main()
