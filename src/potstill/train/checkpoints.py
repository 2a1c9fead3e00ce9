"""Checkpoints of a training: written whole or not at all, and resumed from only by the training that wrote them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from potstill.core.errors import PotstillError
from potstill.core.files import sealed
from potstill.train import distributed
from potstill.train.data import Loader
from potstill.train.early_stopping import EarlyStopping
from potstill.train.job import TrainJob
from potstill.train.provenance import KEY, differences, set_aside

if TYPE_CHECKING:
    from potstill.train.module import Distillation

NEEDED = ("state_dict", "optimizer_states", "lr_schedulers", "loops", "callbacks", "epoch", "global_step")

EpochReport = dict[str, float]


def set_other_aside(last: Path, made_from: Mapping[str, Any]) -> None:
    """Rename a checkpoint that another training wrote, so that this one begins anew.

    Raises
    ------
    PotstillError
        If the checkpoint is damaged or cannot be read.
    """
    if not last.exists():
        return
    found = read_checkpoint(last).get(KEY)
    if differences(found, made_from):
        set_aside(last, found, made_from)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint as plain data.

    Raises
    ------
    PotstillError
        If it is damaged or cannot be read.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise PotstillError(f"the checkpoint {path} cannot be read: {error.strerror or error}\n  {_remedy(path)}") from error
    except Exception as error:  # a damaged archive may raise anything
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise PotstillError(f"the checkpoint {path} is damaged: {why}\n  {_remedy(path)}") from error
    if not isinstance(found, dict) or (missing := [name for name in NEEDED if name not in found]):
        what = "no dictionary" if not isinstance(found, dict) else f"no {', '.join(missing)}"
        raise PotstillError(f"the checkpoint {path} is damaged: it holds {what}\n  {_remedy(path)}")
    return found


def _refuse_diverged(epoch: int, report: Mapping[str, float], module: Distillation) -> None:
    """Raise PotstillError where the loss of an epoch, or a weight after it, is no number; later epochs would have none."""
    loss = report.get("loss", 0.0)
    if not math.isfinite(loss) or not all(bool(weight.isfinite().all()) for weight in module.parameters()):
        what = "weights that are no numbers" if math.isfinite(loss) else f"a loss of {loss}"
        rate = float(module.config.rate)
        raise PotstillError(
            f"the training diverged: epoch {epoch} has {what}, with a learning rate of {rate:g}\n"
            "  lower train.learning_rate, or active_learning.learning_rate in a round, and run again with --resume"
        )


def _remedy(path: Path) -> str:
    return f"remove it to train from the start:  rm -r {path}"


class Checkpoints(Callback):
    """Writes a checkpoint now and then and at the end of each epoch, then reports the errors of the epoch.

    Parameters
    ----------
    job
        Training; its ``made_from`` is stored in each checkpoint.
    made_from
        Origin of the student, computed once.
    training
        Batches of the training, whose position within the epoch is stored.
    on_epoch
        Function called with the number of the epoch and its errors.
    early_stopping
        Callback whose errors are added to the report.
    """

    def __init__(
        self,
        job: TrainJob,
        made_from: Mapping[str, Any],
        training: Loader,
        on_epoch: Callable[[int, EpochReport], None],
        early_stopping: EarlyStopping | None,
    ) -> None:
        self._made_from = dict(made_from)
        self._on_epoch = on_epoch
        self._early_stopping = early_stopping
        self._training = training
        self._last = job.last_checkpoint
        self._seconds = 60.0 * job.config.checkpoint_minutes
        self._saved = time.monotonic()

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint[KEY] = self._made_from

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._training.epoch = trainer.current_epoch

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        due = time.monotonic() - self._saved >= self._seconds
        if distributed.of_first(due) and batch_idx + 1 < len(self._training):
            self._save(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        report = {name: float(value) for name, value in trainer.callback_metrics.items()}
        _refuse_diverged(trainer.current_epoch + 1, report, cast("Distillation", pl_module))
        self._save(trainer)
        if self._early_stopping is not None:
            report |= self._early_stopping.report()
        self._on_epoch(trainer.current_epoch + 1, report)

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        _refuse_diverged(trainer.current_epoch, {}, cast("Distillation", pl_module))  # also where no epoch was left to do

    def _save(self, trainer: lightning.Trainer) -> None:
        if distributed.rank() > 0:
            trainer.save_checkpoint(self._last, weights_only=False)  # rank 0 writes it, all wait until it has
        else:
            with sealed(self._last) as temporary:
                trainer.save_checkpoint(temporary, weights_only=False)
        self._saved = time.monotonic()
