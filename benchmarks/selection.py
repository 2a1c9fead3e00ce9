"""What choosing the structures to label is worth: half of the labels by ``label.select``, a random half, and all of them.

    python benchmarks/selection.py DATASET [--pool 4000] [--epochs 25] [--seeds 1 2] [--tier nano]

DATASET is a labelled and split ``dataset.h5``. The pool is a random part of ``train``. The students with half of the labels
take as many steps as the one with all; all are held against ``valid`` and ``test``. Results in ``results/selection.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import write_results
from held_out import fit, held_out_of, training_part

from potstill.config import TrainConfig
from potstill.dataset import Dataset
from potstill.dataset.combine import write_subset
from potstill.label.select import SelectOptions, choose
from potstill.student.config import StudentConfig


def main() -> None:
    """Three students for each seed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--pool", type=int, default=4000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--epochs", type=int, default=25, help="of all labels; twice as many of half of them")
    parser.add_argument("--tier", default="nano")
    options = parser.parse_args()
    dataset = Dataset(options.dataset)
    held_out, student = held_out_of(dataset), StudentConfig(tier=options.tier)
    rows: list[dict[str, Any]] = []
    with training_part(dataset) as training, tempfile.TemporaryDirectory() as scratch:
        for seed in options.seeds:
            drawn = choose(training, SelectOptions(count=options.pool, by="random"), seed=seed)
            write_subset(training, drawn, Path(scratch) / f"{seed}.h5")
            pool = Dataset(Path(scratch) / f"{seed}.h5")
            half = len(pool) // 2
            ways = {
                "all": np.arange(len(pool)),
                "random half": choose(pool, SelectOptions(count=half, by="random"), seed=seed),
                "farthest half": choose(pool, SelectOptions(count=half), seed=seed),
            }
            for way, chosen in ways.items():
                config = TrainConfig(epochs=round(options.epochs * len(pool) / len(chosen)), uncertainty=False)
                found = fit(pool.gather(chosen), student, config, held_out, seed=seed)
                rows.append({"tier": options.tier, "labelled": way, "seed": seed, **found})
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
                path = write_results("selection", rows)
    print(path)


if __name__ == "__main__":
    main()
