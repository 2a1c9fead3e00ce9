"""What the Hessian's products are worth: students with and without them, from few and from more labels.

    python -m benchmarks.labelled.hessian DATASET [--labels 1000] [--epochs 40] [--weight 0.5] [--fraction 0.5] [--tier nano]

DATASET is a labelled and split ``dataset.h5``. Structures of its ``train`` are drawn and labelled again by 7net-0, with one
product each, kept in ``--folder``. With products and without them, from all of these labels and from a fifth, students take
the same number of steps; those without are trained once more for about as long as those with products took. All are held
against ``valid`` and ``test`` of DATASET. A product costs two more questions to the teacher. Results in
``results/hessian.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from benchmarks.lib.common import write_results
from benchmarks.lib.held_out import fit, held_out_of, training_part

from potstill.dataset import Dataset, merge
from potstill.dataset.combine import write_subset
from potstill.label.options import LabelConfig, SelectOptions
from potstill.label.select import choose
from potstill.label.stage import label
from potstill.student.options import StudentConfig
from potstill.teacher.sevennet import SevenNet
from potstill.train.options import TrainConfig

FEWER = 5


def with_products(dataset: Dataset, count: int, folder: Path) -> tuple[Path, float]:
    """Structures of ``train`` with labels and products, and the seconds that it took to label them."""
    path = folder / f"products-{count}.h5"
    started = perf_counter()
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with training_part(dataset) as training:
            pool = folder / f"pool-{count}.h5"
            write_subset(training, choose(training, SelectOptions(count=count, by="random"), seed=1), pool)
        config = LabelConfig(teacher=SevenNet(weights="7net-0"), extra=("hessian_vector_products",))
        merge(label(config, pool, folder / f"label-{count}"), path, attributes={})
    return path, perf_counter() - started


def main() -> None:
    """Six students for each seed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--labels", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=40, help="of all labels; five times as many of a fifth of them")
    parser.add_argument("--weight", type=float, default=0.5)
    parser.add_argument("--fraction", type=float, default=0.5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--tier", default="nano")
    parser.add_argument("--folder", type=Path, help="where the labels are kept")
    options = parser.parse_args()
    dataset = Dataset(options.dataset)
    held_out, student = held_out_of(dataset), StudentConfig(tier=options.tier)
    plain = TrainConfig(epochs=options.epochs, uncertainty=False)
    products = plain.model_copy(update={"hessian_weight": options.weight, "hessian_fraction": options.fraction})
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        path, seconds = with_products(dataset, options.labels, options.folder or Path(scratch))
        print(f"labelled in {seconds:.0f} s", file=sys.stderr, flush=True)
        training = Dataset(path)
        for seed, fewer in [(s, f) for s in options.seeds for f in (FEWER, 1)]:
            order = np.random.default_rng(seed).permutation(len(training))
            some = training.gather(np.sort(order[: len(training) // fewer]))

            def one(way: str, config: TrainConfig, times: float, seed: int = seed, some: Any = some) -> dict[str, Any]:
                config = config.model_copy(update={"epochs": max(1, round(times * config.epochs))})
                found = {"tier": options.tier, "way": way, "seed": seed, **fit(some, student, config, held_out, seed=seed)}
                print(json.dumps(found), file=sys.stderr, flush=True)
                rows.append(found)
                return found

            without = one("without", plain, fewer)
            with_them = one("with products", products, fewer)
            one("without, as long", plain, fewer * with_them["train_seconds"] / without["train_seconds"])
            result = write_results("hessian", rows)
    print(result)


if __name__ == "__main__":
    main()
