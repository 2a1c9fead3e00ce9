"""What choosing the structures to label is worth: half of the labels by ``label.select``, a random half, and all of them.

    python -m benchmarks.labelled.selection DATASET [--pool 4000] [--epochs 25] [--seeds 1 2] [--tier nano]

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
from benchmarks.lib.common import write_results
from benchmarks.lib.held_out import fit, held_out_of, training_part

from potstill.active_learning.committee import disagreement
from potstill.core.types import Array
from potstill.dataset import Dataset
from potstill.dataset.combine import write_subset
from potstill.label.options import SelectOptions
from potstill.label.select import choose, with_disputed, write_first
from potstill.student.options import StudentConfig
from potstill.train.options import TrainConfig


def by_committee(pool: Dataset, options: SelectOptions, cutoff_angstrom: float, scratch: Path, seed: int) -> Array:
    """What a run chooses by ``committee``, from a pool that has its labels already."""
    folder = scratch / f"committee-{seed}"
    first = write_first(pool.path, folder / "first.h5", options, seed=seed, at_once=1)
    apart = disagreement([first], pool, folder, cutoff_angstrom=cutoff_angstrom, seed=seed)
    return with_disputed(pool.ids, Dataset(first).ids, apart, options.wanted(len(pool)))


def main() -> None:
    """Four students for each seed."""
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
                "farthest half": choose(pool, SelectOptions(count=half, by="farthest"), seed=seed),
                "committee half": by_committee(
                    pool, SelectOptions(count=half), student.cutoff_angstrom, Path(scratch), seed
                ),
            }
            for way, chosen in ways.items():
                epochs = round(options.epochs * len(pool) / len(chosen))
                config = TrainConfig(epochs=epochs, energy_weight=5.0, weight_decay=0.1, uncertainty=False)
                found = fit(pool.gather(chosen), student, config, held_out, seed=seed)
                rows.append({"tier": options.tier, "labelled": way, "seed": seed, **found})
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
                path = write_results("selection", rows)
    print(path)


if __name__ == "__main__":
    main()
