"""What lowers the error of a student of many elements from the same labels and by the same number of steps.

    python -m benchmarks.labelled.many_elements DATASET [--labels 8000] [--visits 64000] [--only NAME ...]

DATASET is a labelled and split ``dataset.h5`` of the template ``production_120k``. Each way changes options of its student.
All are trained from random weights on the same structures in the same order. They are held against ``valid`` and ``test``,
whose compositions were not trained on. The time of an evaluation is that of 32 structures with their neighbor lists, in
processor time, by untrained students in turn. Results in ``results/many_elements.json``; other ways stay.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import nullcontext
from pathlib import Path
from time import process_time
from typing import Any
from unittest.mock import patch

import numpy as np
from benchmarks.labelled.general import CONFIG
from benchmarks.lib.common import RESULTS, write_results
from benchmarks.lib.held_out import drawn, fit, held_out_of, short_training

from potstill.config import load_config
from potstill.dataset import Dataset
from potstill.student.options import StudentConfig
from potstill.testing import random_student

APART = "elements start apart"  # with independent weights, instead of those of start_alike
WAYS: dict[str, dict[str, Any]] = {
    "as in the template": {},
    APART: {},
    f"{APART}, absolute distances": {"radial_distance": "absolute"},
    f"{APART}, absolute distances, 2 experts": {"radial_distance": "absolute", "experts": 2},
    f"{APART}, absolute distances, 40 experts": {"radial_distance": "absolute", "experts": 40},
    f"{APART}, absolute distances, 3 layers": {"radial_distance": "absolute", "layers": 3},
}
TIMED_STRUCTURES = 32
ROUNDS = 20


def student_of(way: str) -> StudentConfig:
    """The student of the template with the options of a way, of any number of parameters."""
    told = load_config(CONFIG).student.model_dump() | WAYS[way] | {"parameters_between": None}
    return StudentConfig.model_validate(told)


def evaluation_seconds(dataset: Dataset, ways: list[str]) -> dict[str, float]:
    """Median processor time of an evaluation of some structures by each way, in turn."""
    some = [dataset[int(k)].with_(labels=None) for k in dataset.split("test")[:TIMED_STRUCTURES]]
    known = sorted({int(z) for s in some for z in s.atomic_numbers})
    students = {way: random_student(known, **{"tier": "base", **student_of(way).model_dump()}) for way in ways}
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, student in students.items():
            begun = process_time()
            student.label(some)
            taken[way].append(process_time() - begun)
    return {way: float(np.median(seconds[3:])) for way, seconds in taken.items()}


def main() -> None:
    """One row for each way."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--labels", type=int, default=8000)
    parser.add_argument("--visits", type=int, default=64_000, help="structures that the steps of a training see in all")
    parser.add_argument("--batch-structures", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", choices=list(WAYS), default=list(WAYS), help="ways to train; none to time all")
    options = parser.parse_args()
    dataset, config = Dataset(options.dataset), load_config(CONFIG)
    held_out = held_out_of(dataset)
    some = drawn(dataset, options.labels, options.seed)
    section = short_training(config.train, options.visits, len(some), options.batch_structures)
    for way in options.only:
        with patch("potstill.train.stage.start_alike") if way.startswith(APART) else nullcontext():
            found = fit(some, student_of(way), section, held_out, seed=options.seed)
        del found["train_seconds"], found["threads"]  # other work may run beside it
        row = {"way": way, "seed": options.seed, "elements": len(np.unique(some.atomic_numbers)), **found}
        print(json.dumps(row), file=sys.stderr, flush=True)
        write_results("many_elements", [row], keep=("way", "labels", "seed"))
    rows = json.loads((RESULTS / "many_elements.json").read_text(encoding="utf-8"))["rows"]
    seconds = evaluation_seconds(dataset, [row["way"] for row in rows])
    timed = [row | {"evaluation_ms": round(1e3 * seconds[row["way"]], 3)} for row in rows]
    print(write_results("many_elements", timed, keep=("way", "labels", "seed")))


if __name__ == "__main__":
    main()
