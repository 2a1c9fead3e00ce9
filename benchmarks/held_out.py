"""Students that differ in what they are trained on: fit one, and hold it against structures that none has seen."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from potstill.config import TrainConfig
from potstill.dataset import Dataset, Records
from potstill.dataset.combine import write_subset
from potstill.student.config import StudentConfig
from potstill.student.model import Student
from potstill.train.data import LabelledStructures
from potstill.train.losses import mean_errors
from potstill.train.stage import train_records

BATCH = 32


def held_out_of(dataset: Dataset) -> Records:
    """What is neither trained on nor chosen from: ``valid`` and ``test``."""
    return dataset.gather(np.concatenate([dataset.split("valid"), dataset.split("test")]))


@contextmanager
def training_part(dataset: Dataset) -> Iterator[Dataset]:
    """The structures of ``train`` as a file of their own."""
    with tempfile.TemporaryDirectory() as scratch:
        pool = Path(scratch) / "pool.h5"
        write_subset(dataset, dataset.split("train"), pool)
        yield Dataset(pool)


def fit(training: Records, student: StudentConfig, config: TrainConfig, held_out: Records, *, seed: int) -> dict[str, Any]:
    """Train, and say the errors on what is held out and the seconds of training.

    Structures with elements that were not trained on are left out; ``held_out`` says how many were not.
    """
    warnings.simplefilter("ignore")
    started = perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        fitted = train_records(training, Records.of([]), student, config, Path(scratch), seed=seed)
    seconds = perf_counter() - started
    known = [k for k in range(len(held_out)) if _known(held_out, k, fitted)]
    found = errors(fitted, held_out.gather(np.array(known)))
    return {
        "labels": len(training),
        "epochs": config.epochs,
        "train_seconds": round(seconds, 1),
        "held_out": len(known),
        **found,
    }


def errors(student: Student, held_out: Records) -> dict[str, float]:
    """Mean errors over atoms (forces, by length) and structures (energy), and the forces' over their mean length."""
    data = LabelledStructures(held_out, student.architecture.cutoff_angstrom)
    energy = forces = length = 0.0
    for start in range(0, len(data), BATCH):
        batch = data[np.arange(start, min(start + BATCH, len(data)))]
        found = mean_errors(student.predict(batch.inputs), batch)
        energy += float(found["energy"]) * len(batch.energy)
        forces += float(found["forces"]) * len(batch.forces)
        length += float(batch.forces.norm(dim=1).sum())
    atoms = int(data.sizes.sum())
    return {
        "forces_ev_per_angstrom": round(forces / atoms, 4),
        "of_mean_force": round(forces / length, 4),
        "energy_mev_per_atom": round(1e3 * energy / len(data), 2),
    }


def _known(records: Records, k: int, student: Student) -> bool:
    numbers = records.atomic_numbers[records.ptr[k] : records.ptr[k + 1]]
    return set(numbers.tolist()) <= set(student.architecture.atomic_numbers)
