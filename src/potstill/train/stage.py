"""The stage ``train``: ``dataset.h5`` in, ``student/`` out. Checkpointed every epoch; a killed run goes on where it was."""

from __future__ import annotations

import copy
import logging
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback

from potstill.core.errors import InputError
from potstill.core.files import sealed
from potstill.core.registry import nearest
from potstill.core.types import Array
from potstill.dataset import Dataset, RecordSource
from potstill.execute import available_cores
from potstill.execute.memory import keep_freed_memory
from potstill.stats.references import compositions, fit_reference_energies, mean_local_energies
from potstill.student.domain import Domain
from potstill.student.files import count_parameters, save_student
from potstill.student.fused import FusedTraining, kernel_of
from potstill.student.model import Student
from potstill.student.options import StudentArchitecture, refuse_outside
from potstill.student.uncertainty import save_uncertainty
from potstill.train import distributed as together
from potstill.train.data import LabelledStructures, Loader
from potstill.train.early_stopping import Patience
from potstill.train.hints import hints_for
from potstill.train.learning_rate import settled_rate
from potstill.train.losses import extras_needed
from potstill.train.module import Distillation
from potstill.train.sampler import Batches
from potstill.train.uncertainty import fit_uncertainty

if TYPE_CHECKING:
    from potstill.student.options import StudentConfig
    from potstill.train.options import Loss, TrainConfig

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
    start: Student | None = None,
) -> Path:
    """Train a student on the training families of a dataset.

    Parameters
    ----------
    dataset
        Labelled and split.
    student, config
        Sections ``student`` and ``train``.
    folder
        ``student/`` of the run: receives ``weights.safetensors``, ``config.json``, ``uncertainty.safetensors``,
        ``checkpoints/`` and, for the learning rate ``auto``, ``learning_rate.json``.
    seed
        Of the initial weights and the order of batches.
    on_epoch
        Called with the epoch's number and its errors.
    provenance
        Facts written into ``config.json`` beside the architecture.
    start
        Student to go on from, with its elements and reference energies, instead of random weights.

    Returns
    -------
    Path
        The folder.
    """
    training, watching = dataset.select("train"), dataset.select("valid")
    if not len(training):
        raise InputError("the training part of the split is empty: raise the number of structures")
    if config.patience_epochs and not len(watching):
        raise InputError(
            "train.patience_epochs needs families to watch, and none is in 'valid': raise dataset.valid_fraction"
        )
    weights = source_weights(dataset, config)
    with together.together(config, _job(dataset, student, config, folder, seed, start), folder / "checkpoints"):
        averaged, learnt = _trained(
            training, watching, student, config, folder, seed=seed, on_epoch=on_epoch, weights=weights, start=start
        )
    if together.rank() > 0:
        return folder
    domain = Domain.of(training, averaged.architecture.cutoff_angstrom).as_dict()
    facts = {**(provenance or {}), **learnt, "domain": domain}
    if config.uncertainty:
        uncertainty, facts["uncertainty"] = fit_uncertainty(averaged, training, watching, backend=config.backend, seed=seed)
        save_uncertainty(uncertainty, folder)
    save_student(averaged, folder, facts)
    return folder


def _job(
    dataset: Dataset, student: StudentConfig, config: TrainConfig, folder: Path, seed: int, start: Student | None
) -> dict[str, Any]:
    """What the others are told that train along, as JSON; they all see the folder."""
    first = folder / "checkpoints" / "start"
    if start is not None and config.processes * config.nodes > 1 and together.processes() == 1:
        save_student(start, first, {})
    return {
        "dataset": str(dataset.path.resolve()),
        "student": student.model_dump(mode="json"),
        "train": config.model_dump(mode="json"),
        "folder": str(folder.resolve()),
        "seed": seed,
        "start": str(first.resolve()) if start is not None else "",
    }


def train_records(
    training: RecordSource,
    watching: RecordSource,
    student: StudentConfig,
    config: TrainConfig,
    folder: Path,
    *,
    seed: int,
    on_epoch: Callable[[int, EpochReport], None] = lambda epoch, report: None,
    weights: Array | None = None,
    start: Student | None = None,
) -> Student:
    """Train on records, with checkpoints below ``folder``; the averaged student comes back.

    ``weights`` (S,) are those of the losses of each structure that is trained on.
    """
    averaged, _ = _trained(
        training, watching, student, config, folder, seed=seed, on_epoch=on_epoch, weights=weights, start=start
    )
    return averaged


def _trained(
    training: RecordSource,
    watching: RecordSource,
    student: StudentConfig,
    config: TrainConfig,
    folder: Path,
    *,
    seed: int,
    on_epoch: Callable[[int, EpochReport], None],
    weights: Array | None,
    start: Student | None,
) -> tuple[Student, dict[str, Any]]:
    """The averaged student, and what is to be said of its training."""
    keep_freed_memory()
    torch.set_num_threads(max(1, available_cores() // config.processes))
    needed = extras_needed(config)
    refuse_missing(training, needed)
    model = (
        _initial(training, student, local_energies="local_energies" in needed, seed=seed) if start is None else _again(start)
    )
    architecture = model.architecture
    extra = [name for names in needed.values() for name in names]
    data = LabelledStructures(training, architecture.cutoff_angstrom, weights=weights, extra=extra)
    batches = Batches(
        data.sizes,
        config.batch_structures,
        batch_atoms=config.batch_atoms,
        neighbors=None if kernel_of(model, config.backend, FusedTraining) else data.edges_per_atom,
        seed=seed,
        rank=together.rank(),
        ranks=together.processes(),
    )
    hints = hints_for(training, architecture.hidden, seed=seed) if "node_embeddings" in needed else None
    rate = settled_rate(model, config, data, folder, seed=seed, hints=hints) if together.rank() == 0 else 0.0
    config = config.model_copy(update={"learning_rate": together.of_first(rate)})
    module = Distillation(model, config, total_steps=config.epochs * len(batches), hints=hints)
    others = LabelledStructures(watching, architecture.cutoff_angstrom, extra=extra)
    parts = Batches(others.sizes, VALIDATION_BATCH, rank=together.rank(), ranks=together.processes())
    watched = Loader(others, parts)
    return module.averaged, _fit(module, Loader(data, batches), watched, config, folder, on_epoch)


def _initial(training: RecordSource, student: StudentConfig, *, local_energies: bool, seed: int) -> Student:
    """A student with random weights and reference energies."""
    elements, amounts, energy = compositions(training)
    architecture = StudentArchitecture(**student.model_dump(), atomic_numbers=tuple(elements))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Student(architecture)
    refuse_outside(student, count_parameters(model))
    references = mean_local_energies(training, elements) if local_energies else fit_reference_energies(amounts, energy)
    model.reference_energies.copy_(torch.from_numpy(references))
    return model


def _again(start: Student) -> Student:
    return copy.deepcopy(start).train().requires_grad_(requires_grad=True)


def source_weights(dataset: Dataset, config: TrainConfig) -> Array | None:
    """(S,) weights of the structures that are trained on, by their source; None where all are 1.

    Raises
    ------
    InputError
        If a source is weighted that the dataset does not have.
    """
    if not config.source_weights:
        return None
    names = set(dataset.sources.tolist())
    for unknown in sorted(set(config.source_weights) - names):
        raise InputError(f"train.source_weights: the dataset has no source '{unknown}'; {nearest(unknown, sorted(names))}")
    return np.array([config.source_weights.get(name, 1.0) for name in dataset.sources[dataset.split("train")]])


def refuse_missing(training: RecordSource, needed: Mapping[Loss, Sequence[str]]) -> None:
    """Raise where a loss has a weight and the records hold nothing that it can be held against."""
    stored = training.gather(np.array([0])).extra
    for loss, names in needed.items():
        if any(name not in stored for name in names):
            wanted = "hessian_vector_products" if loss == "hessian" else loss
            raise InputError(
                f"train.{loss}_weight is set, but the dataset holds no {' and '.join(names)}\n"
                f"  label again with  label.extra: [{wanted}]  or leave that weight at 0"
            )


@contextmanager
def _only_warnings_of_lightning() -> Iterator[None]:
    """Its notes on devices and on its other products are no news to the user."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@_only_warnings_of_lightning()
def _fit(
    module: Distillation,
    training: Loader,
    watching: Loader,
    config: TrainConfig,
    folder: Path,
    on_epoch: Callable[[int, EpochReport], None],
) -> dict[str, Any]:
    last = folder / "checkpoints" / "last.ckpt"
    watched_every = max(1, config.epochs // 20)
    patience = None
    if config.patience_epochs and len(watching):
        patience = Patience(module.averaged, config.patience_epochs)
        watched_every = max(1, min(watched_every, config.patience_epochs // 4))
    checkpoints = _Checkpoints(on_epoch, training, last, config.checkpoint_minutes, patience)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*have no `val_dataloader`.*")  # a small dataset has no families to watch
        # Lightning 2.6 asks torch 2.13 in a way that the latter deprecates
        warnings.filterwarnings("ignore", ".*treespec, LeafSpec.* is deprecated.*", FutureWarning)
        warnings.filterwarnings("ignore", ".*`srun` command is available.*")  # which starts the other nodes, not the first
        trainer = lightning.Trainer(
            max_epochs=config.epochs,
            accelerator="auto",
            **together.devices(config),
            gradient_clip_val=config.clip_gradient,
            callbacks=[checkpoints] if patience is None else [patience, checkpoints],
            enable_checkpointing=False,  # done by _Checkpoints, with a rename within one folder
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            inference_mode=False,  # forces are gradients, also while watching
            check_val_every_n_epoch=watched_every,
            default_root_dir=folder,
        )
        on_interrupt = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(
                module,
                train_dataloaders=training,
                val_dataloaders=watching if len(watching) else None,
                ckpt_path=last if last.exists() else None,
                weights_only=True,
            )
        except SystemExit as stop:
            if stop.code == 1 and trainer.interrupted:  # what Lightning makes of Ctrl-C, which it ignores from then on
                signal.signal(signal.SIGINT, on_interrupt)
                raise KeyboardInterrupt from None
            raise
    facts: dict[str, Any] = {"epochs": trainer.current_epoch}
    if patience is not None:
        patience.restore_best()
        facts["patience"] = patience.report()
    return facts


class _Checkpoints(Callback):
    """Seals a checkpoint now and then and at the end of each epoch, then tells the caller the epoch's errors."""

    def __init__(
        self,
        on_epoch: Callable[[int, EpochReport], None],
        training: Loader,
        last: Path,
        minutes: float,
        patience: Patience | None,
    ) -> None:
        self._on_epoch = on_epoch
        self._patience = patience
        self._training = training
        self._last = last
        self._seconds = 60.0 * minutes
        self._saved = time.monotonic()

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._training.epoch = trainer.current_epoch

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        due = time.monotonic() - self._saved >= self._seconds
        if together.of_first(due) and batch_idx + 1 < len(self._training):
            self._save(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._save(trainer)
        report = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if self._patience is not None:
            report |= self._patience.report()
        self._on_epoch(trainer.current_epoch + 1, report)

    def _save(self, trainer: lightning.Trainer) -> None:
        if together.rank() > 0:
            trainer.save_checkpoint(self._last, weights_only=False)  # which the first process writes, and all wait for
        else:
            with sealed(self._last) as temporary:
                trainer.save_checkpoint(temporary, weights_only=False)
        self._saved = time.monotonic()
