"""The stage ``train``: ``dataset.h5`` in, ``student/`` out. A killed training continues from its last checkpoint."""

from __future__ import annotations

import copy
import gc
import logging
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import SIGTERMException

from potstill.dataset import RecordSource
from potstill.execute import available_cores
from potstill.execute.memory import keep_freed_memory
from potstill.stats.references import compositions, fit_reference_energies, mean_local_energies
from potstill.student.alike import start_alike
from potstill.student.domain import Domain
from potstill.student.files import count_parameters, save_student
from potstill.student.fused import FusedKernel, FusedTraining, kernel_of
from potstill.student.model import Student
from potstill.student.options import StudentArchitecture, refuse_outside
from potstill.student.uncertainty import FILE as UNCERTAINTY
from potstill.student.uncertainty import save_uncertainty
from potstill.train import distributed
from potstill.train.checkpoints import Checkpoints, EpochReport, set_other_aside
from potstill.train.chosen_losses import columns_of, kinds_of, refuse_missing, refuse_nothing_to_learn
from potstill.train.data import LabelledStructures, Loader
from potstill.train.early_stopping import EarlyStopping
from potstill.train.graphs import GraphedDistillation, device_structures
from potstill.train.hints import hints_for
from potstill.train.job import TrainJob
from potstill.train.learning_rate import settled_rate
from potstill.train.losses import LocalEnergiesTerm, NodeEmbeddingsTerm
from potstill.train.module import Distillation
from potstill.train.provenance import KEY
from potstill.train.replay import WHO, Replay, held_out_of
from potstill.train.sampler import BatchSampler
from potstill.train.uncertainty import examined, fit_uncertainty
from potstill.train.zero import predicted_energies

log = logging.getLogger(__name__)
VALIDATION_STRUCTURES = 32
ERRORS_BEFORE = ("forces_before", "energy_before")  # on held-out replayed structures
ERRORS_AFTER = ("forces_after", "energy_after")

OnEpoch = Callable[[int, EpochReport], None]


def _ignore(epoch: int, report: EpochReport) -> None:
    pass


def train(
    job: TrainJob,
    *,
    on_epoch: OnEpoch = _ignore,
    provenance: Mapping[str, Any] | None = None,
    known_before: Mapping[str, float] | None = None,
) -> Path:
    """Train a student on a dataset and write it.

    Parameters
    ----------
    job
        Training on a dataset. Its folder receives ``weights.safetensors``, ``config.json``, ``uncertainty.safetensors``,
        ``checkpoints/`` and, for the learning rate ``auto``, ``learning_rate.json``.
    on_epoch
        Function called with the number of each epoch and its errors.
    provenance
        Facts written into ``config.json`` beside the architecture and ``made_from``.
    known_before
        Errors of ``train.start`` on held-out replayed structures, ``forces_before`` and ``energy_before``, where
        :attr:`TrainJob.start` was trained from it already; by default those of :attr:`TrainJob.start`.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        If the dataset lacks labels that a loss needs, or nothing in it counts for the loss.
    PotstillError
        If a checkpoint is damaged, another process ended, or the loss is no number any more.
    """
    several = job.config.processes * job.config.nodes > 1 and distributed.processes() == 1
    with distributed.process_group(job.config, job.for_other_ranks() if several else {}, job.folder / "checkpoints"):
        averaged, facts = _train(job, on_epoch)
    _give_the_card_back()
    if distributed.rank() > 0:
        return job.folder
    facts = {**(provenance or {}), **facts, KEY: job.made_from()}
    zero_known = job.start is not None or LocalEnergiesTerm in kinds_of(job.config)
    domain = Domain.of(job.records, averaged.architecture.cutoff_angstrom, any_composition=zero_known)
    facts["domain"] = domain.as_dict()
    if job.replay is not None and job.start is not None:
        facts["replay"] = _forgotten(job.replay, job.start, averaged, job, known_before or {})
    uncertainty = None
    if job.config.uncertainty:
        uncertainty, facts["uncertainty"] = fit_uncertainty(
            averaged, job.records, job.watching, backend=job.config.backend, seed=job.seed
        )
    (job.folder / "config.json").unlink(missing_ok=True)  # the files of two students must never be mixed
    if uncertainty is None:
        (job.folder / UNCERTAINTY).unlink(missing_ok=True)
    else:
        facts["uncertainty"] |= save_uncertainty(uncertainty, job.folder)
    save_student(averaged, job.folder, facts)
    return job.folder


def _forgotten(
    replay: Replay, start: Student, after: Student, job: TrainJob, known_before: Mapping[str, float]
) -> dict[str, Any]:
    """Return and log the errors on held-out structures of the earlier data, of ``train.start`` and after a training.

    Those of the forces are in eV/Å, those of the energies in eV/atom and relative to the zero of the new data.
    """
    found: dict[str, Any] = {"structures": len(replay.records), "each_epoch": replay.each_epoch, "held_out": 0}
    held_out = held_out_of(replay, after.architecture)
    if held_out is None:
        return found
    errors = {name: known_before[name] for name in ERRORS_BEFORE if name in known_before}
    if len(errors) < len(ERRORS_BEFORE):
        errors = dict(zip(ERRORS_BEFORE, _errors(start, held_out, job), strict=True))
    errors |= dict(zip(ERRORS_AFTER, _errors(after, held_out, job), strict=True))
    log.info(
        "errors on %d held-out structures of train.replay: forces %.3g eV/Å of train.start, %.3g after; "
        "energies %.3g eV/atom of train.start, %.3g after",
        *(len(held_out), errors["forces_before"], errors["forces_after"], errors["energy_before"], errors["energy_after"]),
    )
    return found | {"held_out": len(held_out), **errors}


def _errors(student: Student, held_out: RecordSource, job: TrainJob) -> tuple[float, float]:
    """Return the mean length of the force error in eV/Å, and the mean absolute error of the energy in eV/atom."""
    kernel = kernel_of(student, job.config.backend, FusedKernel)
    return float(examined(student, held_out, kernel, job.seed).errors.mean()), _energy_error(student, held_out)


def _energy_error(student: Student, source: RecordSource) -> float:
    """Return the mean absolute error of the energy in eV/atom."""
    records = source.gather(np.arange(len(source)))
    return float(np.mean(np.abs(predicted_energies(student, source) - records.energy) / np.diff(records.ptr)))


def train_student(job: TrainJob, *, on_epoch: OnEpoch = _ignore) -> Student:
    """Train in this process and return the averaged student; the folder of the job receives checkpoints only."""
    averaged, _ = _train(job, on_epoch)
    _give_the_card_back()
    return averaged


def _give_the_card_back() -> None:
    """Give the memory of a GPU back, which a module and its trainer hold in a cycle, to what comes next."""
    if torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()


def _train(job: TrainJob, on_epoch: OnEpoch) -> tuple[Student, dict[str, Any]]:
    """Return the averaged student and facts of its training."""
    keep_freed_memory()
    config = job.config
    torch.set_num_threads(max(1, available_cores() // config.processes))
    kinds = kinds_of(config)
    refuse_missing(job.training, kinds)
    if job.replay is not None:
        refuse_missing(job.replay.records, kinds, WHO)
    refuse_nothing_to_learn(job.records, config, job.weights)
    made_from = job.made_from()
    if distributed.rank() == 0:
        set_other_aside(job.last_checkpoint, made_from)
    local_energies = LocalEnergiesTerm in kinds
    model = initial_student(job, local_energies=local_energies) if job.start is None else _trainable_copy(job.start)
    cutoff, columns = model.architecture.cutoff_angstrom, columns_of(kinds)
    data = LabelledStructures(job.records, cutoff, weights=job.weights, extra=columns)
    on_device = device_structures(config, kinds, data, model)
    batches = job.sampler(
        data.sizes,
        neighbors=None if kernel_of(model, config.backend, FusedTraining) else data.edges_per_atom,
        part=distributed.part_of_batches() if on_device is None else slice(None),  # the data on a device divide batches
    )
    hints = hints_for(job.records, model.architecture.hidden, seed=job.seed) if NodeEmbeddingsTerm in kinds else None
    rate = settled_rate(job, made_from, model, data, hints) if distributed.rank() == 0 else 0.0
    _give_the_card_back()  # of a range test, for graphs have memory of their own
    config = config.model_copy(update={"learning_rate": distributed.of_first(rate)})
    total_steps = config.epochs * len(batches)
    if on_device is None:
        module = Distillation(model, config, total_steps, hints)
    else:
        module = GraphedDistillation(on_device, model, config, total_steps)
    others = LabelledStructures(job.watching, cutoff, extra=columns)
    parts = BatchSampler(others.sizes, VALIDATION_STRUCTURES, part=distributed.part_of_batches())
    training = Loader(data if on_device is None else on_device, batches)
    early_stopping = None
    if config.patience_epochs and len(others):
        early_stopping = EarlyStopping(module.averaged, config.patience_epochs)
    checkpoints = Checkpoints(job, made_from, training, on_epoch, early_stopping)
    callbacks: list[Callback] = [checkpoints] if early_stopping is None else [early_stopping, checkpoints]
    facts: dict[str, Any] = {"epochs": _fit(module, training, Loader(others, parts), callbacks, job)}
    if early_stopping is not None:
        early_stopping.restore_best()
        facts["patience"] = early_stopping.report()
    return module.averaged, facts


def initial_student(job: TrainJob, *, local_energies: bool = False) -> Student:
    """Return a student with random weights and reference energies.

    Parameters
    ----------
    job
        Training; its seed determines the weights.
    local_energies
        Whether the means of the teacher's local energies become reference energies, instead of a fit to total energies.

    Raises
    ------
    InputError
        If the student is larger or smaller than the config allows.
    """
    elements, amounts, energy = compositions(job.training)
    architecture = StudentArchitecture(**job.student.model_dump(), atomic_numbers=tuple(elements))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(job.seed)
        model = Student(architecture)
        start_alike(model)
    refuse_outside(job.student, count_parameters(model))
    means = mean_local_energies(job.training, elements) if local_energies else fit_reference_energies(amounts, energy)
    model.reference_energies.copy_(torch.from_numpy(means))
    return model


def _trainable_copy(start: Student) -> Student:
    return copy.deepcopy(start).train().requires_grad_(requires_grad=True)


@contextmanager
def _warnings_of_lightning_only() -> Iterator[None]:
    """Mute Lightning's messages about devices and its other products."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*have no `val_dataloader`.*")  # a small dataset has no families to watch
            # Lightning 2.6 calls torch 2.13 in a deprecated way
            warnings.filterwarnings("ignore", ".*treespec, LeafSpec.* is deprecated.*", FutureWarning)
            warnings.filterwarnings("ignore", ".*Grad strides do not match bucket view strides.*")  # of single rows: no copy
            warnings.filterwarnings("ignore", ".*`srun` command is available.*")  # srun starts other nodes, not rank 0
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@_warnings_of_lightning_only()
def _fit(module: Distillation, training: Loader, watching: Loader, callbacks: list[Callback], job: TrainJob) -> int:
    """Take all steps, from the last checkpoint on where there is one, and return the number of epochs."""
    config, last = job.config, job.last_checkpoint
    watched_every = max(1, config.epochs // 20)
    if config.patience_epochs and len(watching):
        watched_every = max(1, min(watched_every, config.patience_epochs // 4))
    trainer = lightning.Trainer(
        max_epochs=config.epochs,
        accelerator="auto",
        **distributed.devices(config),
        gradient_clip_val=config.clip_gradient,
        callbacks=callbacks,
        enable_checkpointing=False,  # done by Checkpoints, with a rename within one folder
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        inference_mode=False,  # forces are gradients, also in validation
        check_val_every_n_epoch=watched_every,
        default_root_dir=job.folder,
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
    except SIGTERMException:  # Lightning would end the process with exit code 0, as after success
        raise SystemExit(128 + signal.SIGTERM) from None
    except SystemExit as stop:
        if stop.code == 1 and trainer.interrupted:  # Lightning's reaction to Ctrl-C, which it ignores afterwards
            signal.signal(signal.SIGINT, on_interrupt)
            raise KeyboardInterrupt from None
        raise
    return trainer.current_epoch
