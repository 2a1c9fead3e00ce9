"""Atoms per second in training: the fused kernel against PyTorch, and how far their derivatives differ.

    python -m benchmarks.labelled.training_speed DATASET [--threads 2] [--batch-atoms 200 1000] [--tiers nano base xl]

A step is a batch from the dataset with its neighbour lists, energy, forces and stress, the losses of ``small_6k``,
derivatives by all weights, and AdamW. The two ways take turns on the same batches; the first turn warms up.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from benchmarks.lib.common import write_results
from benchmarks.lib.peers import seeded
from benchmarks.lib.timing import KEEP_FREED_MEMORY, one_thread_count, restart_with
from rich.console import Console
from rich.table import Table

from potstill.dataset import Dataset
from potstill.stats.references import compositions
from potstill.student.files import count_parameters
from potstill.student.fused import FusedTraining
from potstill.student.model import Kernel, Student
from potstill.student.options import SIZES, StudentArchitecture
from potstill.train.data import LabelledBatch, LabelledStructures
from potstill.train.losses import mean_errors
from potstill.train.sampler import BatchSampler

CUTOFF_ANGSTROM = 4.5
STEPS, TURNS = 12, 4


def step(student: Student, batch: LabelledBatch, kernel: Kernel | None) -> None:
    """Derivatives of the loss of ``small_6k``."""
    errors = mean_errors(student.predict(batch.inputs, training=True, kernel=kernel), batch)
    (5.0 * errors["energy"] + 10.0 * errors["forces"] + 10.0 * errors["stress"]).backward()


def measure(dataset: Dataset, tier: str, batch_atoms: int) -> list[dict[str, Any]]:
    """A row for each way."""
    elements = compositions(dataset.select("train"))[0]
    data = LabelledStructures(dataset.select("train"), CUTOFF_ANGSTROM)
    chosen = list(BatchSampler(data.sizes, batch_atoms, batch_atoms=batch_atoms).of_epoch(0))[:STEPS]
    with seeded():
        student = Student(StudentArchitecture(tier=tier, cutoff_angstrom=CUTOFF_ANGSTROM, atomic_numbers=tuple(elements)))
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-6, fused=True)
    ways: dict[str, Kernel | None] = {"fused": FusedTraining(student), "PyTorch": None}
    derivatives = {}
    for way, kernel in ways.items():
        step(student, data[chosen[0]], kernel)
        derivatives[way] = torch.cat([p.grad.reshape(-1) for p in student.parameters() if p.grad is not None])
        optimizer.zero_grad()
    exact = derivatives["PyTorch"]
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(TURNS + 1):
        for way, kernel in ways.items():
            started = perf_counter()
            for indices in chosen:
                step(student, data[indices], kernel)
                optimizer.step()
                optimizer.zero_grad()
            if turn:
                seconds[way].append(perf_counter() - started)
    atoms = sum(int(data.sizes[indices].sum()) for indices in chosen)
    about = {"tier": tier, "parameters": count_parameters(student), "atoms_per_step": atoms / len(chosen)}
    about |= {"threads": torch.get_num_threads()}
    return [
        {
            **about,
            "way": way,
            "atoms_per_second": atoms / float(np.median(seconds[way])),
            "relative_difference": float((derivatives[way] - exact).norm() / exact.norm()),
        }
        for way in ways
    ]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-atoms", type=int, nargs="+", default=[200, 1000])
    parser.add_argument("--tiers", nargs="+", choices=SIZES, default=["nano", "base", "xl"])
    options = parser.parse_args()
    restart_with({**one_thread_count(options.threads), **KEEP_FREED_MEMORY})
    torch.set_num_threads(options.threads)
    dataset = Dataset(options.dataset)
    rows = [row for tier in options.tiers for atoms in options.batch_atoms for row in measure(dataset, tier, atoms)]
    table = Table("tier", "atoms per step", "way", "atoms per second", "relative difference")
    for row in rows:
        figures = f"{row['atoms_per_second']:,.0f}", f"{row['relative_difference']:.1e}"
        table.add_row(row["tier"], f"{row['atoms_per_step']:.0f}", row["way"], *figures)
    Console(file=sys.stderr).print(table)
    print(write_results("training_speed", rows))


if __name__ == "__main__":
    main()
