"""A training as one object: everything that determines its student, bit for bit, and the folder that receives it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from potstill.core.elements import atomic_numbers_of
from potstill.core.errors import InputError
from potstill.core.registry import nearest
from potstill.core.types import Array
from potstill.dataset import Dataset, Records, RecordSource, open_file
from potstill.student.files import read_student, save_student
from potstill.student.model import Student
from potstill.student.options import StudentConfig
from potstill.train.options import TrainConfig
from potstill.train.provenance import described, made_from, records_digest
from potstill.train.replay import Joined, Replay, replay_of
from potstill.train.sampler import BatchSampler

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TrainJob:
    """Data, options and folder of a training.

    Parameters
    ----------
    training, watching
        Records to train on, and records for measuring errors; the latter may be empty.
    student, config
        Sections ``student`` and ``train``.
    folder
        Folder of ``checkpoints/``, of ``learning_rate.json`` where the learning rate is ``auto``, and of the files of
        :func:`train`.
    seed
        Seed of the initial weights and of the order of batches.
    weights
        (S,) weights of the losses of each structure of :attr:`records`; None where all are 1.
    start
        Student to go on from, with its elements and reference energies, instead of random weights.
    dataset
        File that the records are from, which other processes open too; None for records in memory.
    replay
        Earlier structures in each epoch; None where only ``training`` is trained on.
    """

    training: RecordSource
    watching: RecordSource = field(default_factory=lambda: Records.of([]))
    student: StudentConfig
    config: TrainConfig
    folder: Path
    seed: int
    weights: Array | None = None
    start: Student | None = None
    dataset: Dataset | None = None
    replay: Replay | None = None

    @classmethod
    def on(
        cls,
        dataset: Dataset,
        student: StudentConfig,
        config: TrainConfig,
        folder: Path,
        *,
        seed: int,
        start: Student | None = None,
    ) -> TrainJob:
        """Return the training on the families of ``train`` of a dataset; those of ``valid`` are watched.

        Raises
        ------
        InputError
            If there are no families to train on or, with ``patience_epochs``, none to watch, or if a source is weighted
            that no dataset has, or if ``train.replay`` has no structure that may be replayed.
        """
        training, watching = dataset.select("train"), dataset.select("valid")
        tell_idle_weights(dataset, config)
        if not len(training):
            raise InputError("the training part of the split is empty: raise the number of structures")
        if config.patience_epochs and not len(watching):
            raise InputError(
                "train.patience_epochs needs families in 'valid', and there are none: raise dataset.valid_fraction"
            )
        replay = None if start is None else replay_of(config, dataset, start, seed=seed)
        return cls(
            training=training,
            watching=watching,
            student=student,
            config=config,
            folder=folder,
            seed=seed,
            weights=source_weights(dataset, config, () if replay is None else replay.sources),
            start=start,
            dataset=dataset,
            replay=replay,
        )

    @property
    def records(self) -> RecordSource:
        """Return all records that are trained on: those of ``training``, then those of the replay."""
        return self.training if self.replay is None else Joined(self.training, self.replay.records)

    def sampler(self, sizes: Array, *, neighbors: Array | None = None, part: slice = slice(None)) -> BatchSampler:
        """Return the batches of :attr:`records`; parameters are those of :class:`~potstill.train.sampler.BatchSampler`."""
        drawn = None if self.replay is None else (len(self.training), self.replay.each_epoch)
        return BatchSampler(
            sizes,
            self.config.batch_structures,
            batch_atoms=self.config.batch_atoms,
            neighbors=neighbors,
            seed=self.seed,
            part=part,
            drawn=drawn,
        )

    @property
    def last_checkpoint(self) -> Path:
        """Return the path of the checkpoint that a stopped training continues from."""
        return self.folder / "checkpoints" / "last.ckpt"

    def made_from(self) -> dict[str, Any]:
        """Return the origin of the student, as :func:`potstill.train.provenance.made_from` does."""
        if self.dataset is not None:
            replay = None if self.replay is None else self.replay.origin()
            return made_from(self.dataset, self.student, self.config, seed=self.seed, start=self.start, replay=replay)
        data = records_digest(self.training, self.watching, weights=self.weights)
        return described(data, self.student, self.config, seed=self.seed, start=self.start)

    def for_other_ranks(self) -> dict[str, Any]:
        """Return the job as JSON, and write the start student where other processes find it.

        Raises
        ------
        InputError
            If the records are not from a file.
        """
        if self.dataset is None:
            raise InputError("several processes train from a dataset file only: set train.processes and train.nodes to 1")
        start = self.folder / "checkpoints" / "start"
        if self.start is not None:
            save_student(self.start, start, {})
        return {
            "dataset": str(self.dataset.path.resolve()),
            "student": self.student.model_dump(mode="json"),
            "train": self.config.model_dump(mode="json"),
            "folder": str(self.folder.resolve()),
            "seed": self.seed,
            "start": "" if self.start is None else str(start.resolve()),
        }

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> TrainJob:
        """Return the job that :meth:`for_other_ranks` describes."""
        return cls.on(
            open_file(Path(told["dataset"])),
            StudentConfig.model_validate(told["student"]),
            TrainConfig.model_validate(told["train"]),
            Path(told["folder"]),
            seed=told["seed"],
            start=read_student(Path(told["start"]))[0] if told["start"] else None,
        )


def tell_idle_weights(dataset: Dataset, config: TrainConfig) -> None:
    """Warn about weights of elements that the dataset does not have."""
    if not config.element_weights:
        return
    known = np.unique(dataset.column("atoms/atomic_numbers")).tolist()
    idle = sorted(set(atomic_numbers_of(config.element_weights)) - set(known))
    if idle:
        names = ", ".join(chemical_symbols[z] for z in idle)
        log.warning("train.element_weights: the dataset has no %s, so that this weight changes nothing", names)


def source_weights(dataset: Dataset, config: TrainConfig, replayed: Sequence[str] | Array = ()) -> Array | None:
    """Return the (S,) weights of the structures that are trained on, by their source; None where all are 1.

    Parameters
    ----------
    dataset, config
        Dataset whose part ``train`` comes first, and section ``train``.
    replayed
        Sources of earlier structures, which come after it.

    Raises
    ------
    InputError
        If a source is weighted that no structure has.
    """
    if not config.source_weights:
        return None
    names = {*dataset.sources.tolist(), *replayed}
    for unknown in sorted(set(config.source_weights) - names):
        raise InputError(f"train.source_weights: the dataset has no source '{unknown}'; {nearest(unknown, sorted(names))}")
    trained_on = [*dataset.sources[dataset.split("train")], *replayed]
    return np.array([config.source_weights.get(name, 1.0) for name in trained_on])
