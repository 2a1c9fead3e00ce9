"""Students that differ in what they are trained on: fit one, and hold it against structures that none has seen."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from potstill.core.types import Array
from potstill.dataset import Dataset, Records
from potstill.dataset.combine import write_subset
from potstill.execute import available_cores
from potstill.student.files import count_parameters, save_student
from potstill.student.model import Student
from potstill.student.options import StudentConfig
from potstill.train.data import LabelledStructures
from potstill.train.job import TrainJob
from potstill.train.options import TrainConfig
from potstill.train.stage import train_student

BATCH, SEEN = 32, 1000


@dataclass(frozen=True, slots=True)
class HeldOut:
    """S labelled structures and (S,) the source of each."""

    records: Records
    sources: Array


def held_out_of(dataset: Dataset) -> HeldOut:
    """What is neither trained on nor chosen from: ``valid`` and ``test``."""
    indices = np.concatenate([dataset.split("valid"), dataset.split("test")])
    return HeldOut(dataset.gather(indices), dataset.sources[indices])


def predictable(dataset: Dataset, part: str, student: Student) -> Array:
    """The structures of a part that have no element unknown to the student."""
    known = set(student.architecture.atomic_numbers)
    return np.array([int(k) for k in dataset.split(part) if set(dataset[int(k)].atomic_numbers.tolist()) <= known])


def drawn(dataset: Dataset, labels: int, seed: int) -> Records:
    """Some structures of ``train``, drawn at random; fewer of one seed are among more of it."""
    order = np.random.default_rng(seed).permutation(dataset.split("train"))
    return dataset.gather(np.sort(order[:labels]))


def short_training(config: TrainConfig, visits: int, structures: int, batch_structures: int) -> TrainConfig:
    """The training of a config, in as many passes as see a number of structures in all."""
    epochs = max(1, round(visits / structures))
    return config.model_copy(update={"epochs": epochs, "batch_structures": batch_structures, "uncertainty": False})


@contextmanager
def training_part(dataset: Dataset) -> Iterator[Dataset]:
    """The structures of ``train`` as a file of their own."""
    with tempfile.TemporaryDirectory() as scratch:
        pool = Path(scratch) / "pool.h5"
        write_subset(dataset, dataset.split("train"), pool)
        yield Dataset(pool)


def fit(
    training: Records, student: StudentConfig, config: TrainConfig, held_out: HeldOut, *, seed: int, keep: Path | None = None
) -> dict[str, Any]:
    """Train, and say the errors on what is held out and the seconds of training.

    Structures with elements that were not trained on are left out; ``held_out`` says how many were not.
    ``seen_of_mean_force`` is the error on about a thousand structures that were trained on. The student is saved in the
    folder ``keep``.
    """
    warnings.simplefilter("ignore")
    started = perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        fitted = train_student(TrainJob(training=training, student=student, config=config, folder=Path(scratch), seed=seed))
    seconds = perf_counter() - started
    if keep is not None:
        save_student(fitted, keep, {})
    seen = training.gather(np.arange(0, len(training), max(1, len(training) // SEEN)))
    known = np.array([k for k in range(len(held_out.records)) if _known(held_out.records, k, fitted)])
    found = errors(fitted, HeldOut(held_out.records.gather(known), held_out.sources[known]))
    return {
        "labels": len(training),
        "parameters": count_parameters(fitted),
        "epochs": config.epochs,
        "train_seconds": round(seconds, 1),
        "threads": available_cores(),
        "seen_of_mean_force": errors(fitted, HeldOut(seen, np.full(len(seen), "seen")))["of_mean_force"],
        "held_out": len(known),
        **found,
    }


def errors(student: Student, held_out: HeldOut) -> dict[str, Any]:
    """Mean errors over atoms (forces) and structures (energy), and the forces' over the mean length of a force.

    ``of_mean_force`` has the mean length of the errors, ``components_of_mean_force`` their mean absolute component, which
    is about half of it.
    """
    data = LabelledStructures(held_out.records, student.architecture.cutoff_angstrom)
    energy, forces, components, length = (np.zeros(len(data)) for _ in range(4))
    for start in range(0, len(data), BATCH):
        some = np.arange(start, min(start + BATCH, len(data)))
        batch = data[some]
        found, of_structure = student.predict(batch.inputs), batch.inputs.structure
        energy[some] = ((found.energy - batch.energy).abs() / batch.inputs.ptr.diff()).numpy()
        off = found.forces - batch.forces
        of_atoms = ((forces, off.norm(dim=1)), (components, off.abs().mean(dim=1)), (length, batch.forces.norm(dim=1)))
        for target, values in of_atoms:
            target[some] = torch.zeros(len(some)).index_add(0, of_structure, values).numpy()
    each = {}
    for source in np.unique(held_out.sources).tolist():
        its = held_out.sources == source
        each[source] = {
            "structures": int(its.sum()),
            "of_mean_force": round(forces[its].sum() / length[its].sum(), 4),
            "components_of_mean_force": round(components[its].sum() / length[its].sum(), 4),
            "energy_mev_per_atom": round(1e3 * energy[its].mean(), 2),
        }
    return {
        "forces_ev_per_angstrom": round(forces.sum() / int(data.sizes.sum()), 4),
        "of_mean_force": round(forces.sum() / length.sum(), 4),
        "components_of_mean_force": round(components.sum() / length.sum(), 4),
        "energy_mev_per_atom": round(1e3 * energy.mean(), 2),
        "per_source": each,
    }


def _known(records: Records, k: int, student: Student) -> bool:
    numbers = records.atomic_numbers[records.ptr[k] : records.ptr[k + 1]]
    return set(numbers.tolist()) <= set(student.architecture.atomic_numbers)
