"""The stage ``train``: ``dataset.h5`` in, ``student/`` out. Checkpointed every epoch; a killed run goes on where it was."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback

from potstill.dataset import Dataset, sealed
from potstill.errors import InputError
from potstill.execute import available_cores
from potstill.execute.memory import keep_freed_memory
from potstill.student.config import StudentArchitecture, refuse_outside
from potstill.student.files import count_parameters, save_student
from potstill.student.model import Student
from potstill.train.data import BucketBatches, LabelledStructures
from potstill.train.module import Distillation
from potstill.train.references import fit_reference_energies
from potstill.types import Structure

if TYPE_CHECKING:
    from potstill.config import TrainConfig
    from potstill.student.config import StudentConfig

log = logging.getLogger(__name__)
VALIDATION_BATCH = 32

EpochReport = dict[str, float]


def train(
    dataset: Dataset,
    student: StudentConfig,
    config: TrainConfig,
    folder: Path,
    *,
    seed: int,
    on_epoch: Callable[[int, EpochReport], None] = lambda epoch, report: None,
    provenance: dict[str, Any] | None = None,
) -> Path:
    """Train a student on the training families of a dataset.

    Parameters
    ----------
    dataset
        Labelled and split.
    student, config
        Sections ``student`` and ``train``.
    folder
        ``student/`` of the run: receives ``weights.safetensors``, ``config.json`` and ``checkpoints/``.
    seed
        Of the initial weights and the order of batches.
    on_epoch
        Called with the epoch's number and its errors.
    provenance
        Facts written into ``config.json`` beside the architecture.

    Returns
    -------
    Path
        The folder.
    """
    training = [dataset[int(k)] for k in dataset.split("train")]
    watching = [dataset[int(k)] for k in dataset.split("valid")]
    if not training:
        raise InputError("the training part of the split is empty: raise the number of structures")
    averaged = train_structures(training, watching, student, config, folder, seed=seed, on_epoch=on_epoch)
    save_student(averaged, folder, {**(provenance or {}), "epochs": config.epochs})
    return folder


def train_structures(
    training: Sequence[Structure],
    watching: Sequence[Structure],
    student: StudentConfig,
    config: TrainConfig,
    folder: Path,
    *,
    seed: int,
    on_epoch: Callable[[int, EpochReport], None] = lambda epoch, report: None,
) -> Student:
    """Train on labelled structures, with checkpoints below ``folder``; the averaged student comes back."""
    keep_freed_memory()
    torch.set_num_threads(available_cores())
    elements = sorted(set(np.concatenate([s.atomic_numbers for s in training]).tolist()))
    architecture = StudentArchitecture(**student.model_dump(), atomic_numbers=tuple(elements))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Student(architecture)
    refuse_outside(student, count_parameters(model))
    model.reference_energies.copy_(torch.from_numpy(fit_reference_energies(training, elements)))
    data = LabelledStructures(training, architecture.cutoff_angstrom)
    batches = BucketBatches(data.edges_per_atom, config.batch_structures, seed)
    module = Distillation(model, config, total_steps=config.epochs * len(batches))
    _fit(module, data, batches, LabelledStructures(watching, architecture.cutoff_angstrom), config, folder, on_epoch)
    return module.averaged


def _fit(
    module: Distillation,
    data: LabelledStructures,
    batches: BucketBatches,
    watching: LabelledStructures,
    config: TrainConfig,
    folder: Path,
    on_epoch: Callable[[int, EpochReport], None],
) -> None:
    last = folder / "checkpoints" / "last.ckpt"
    trainer = lightning.Trainer(
        max_epochs=config.epochs,
        accelerator="auto",
        devices=1,
        gradient_clip_val=config.clip_gradient,
        callbacks=[_EachEpoch(on_epoch, batches, last)],
        enable_checkpointing=False,  # done by _EachEpoch, with a rename within one folder
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        inference_mode=False,  # forces are gradients, also while watching
        check_val_every_n_epoch=max(1, config.epochs // 20),
        default_root_dir=folder,
    )
    with warnings.catch_warnings():
        # batches are assembled from arrays in memory: a worker process would only add a copy
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*have no `val_dataloader`.*")  # a small dataset has no families to watch
        # Lightning 2.6 asks torch 2.13 in a way that the latter deprecates
        warnings.filterwarnings("ignore", ".*treespec, LeafSpec.* is deprecated.*", FutureWarning)
        trainer.fit(
            module,
            train_dataloaders=_loader(data, batches),
            val_dataloaders=_validation(watching),
            ckpt_path=last if last.exists() else None,
            weights_only=True,
        )
    if trainer.interrupted:
        raise KeyboardInterrupt


def _validation(watching: LabelledStructures) -> Any:
    order = np.argsort(watching.edges_per_atom, kind="stable").tolist() if len(watching) else []
    chunks = [order[k : k + VALIDATION_BATCH] for k in range(0, len(order), VALIDATION_BATCH)]
    return _loader(watching, chunks) if chunks else None


def _loader(data: LabelledStructures, batches: Any) -> Any:
    # each pass draws a seed for workers; from a generator of its own, so that the caller's random numbers stay as they are
    return torch.utils.data.DataLoader(data, sampler=batches, batch_size=None, generator=torch.Generator())


class _EachEpoch(Callback):
    """Tells the sampler which epoch it is; at its end seals a checkpoint, then tells the caller the errors."""

    def __init__(self, on_epoch: Callable[[int, EpochReport], None], batches: BucketBatches, last: Path) -> None:
        self._on_epoch = on_epoch
        self._batches = batches
        self._last = last

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._batches.set_epoch(trainer.current_epoch)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        with sealed(self._last) as temporary:
            trainer.save_checkpoint(temporary)
        report = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self._on_epoch(trainer.current_epoch + 1, report)
