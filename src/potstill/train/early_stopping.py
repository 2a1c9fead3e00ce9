"""Early stopping: the averaged student with the smallest force error on ``valid`` is kept."""

from __future__ import annotations

import logging
import math
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from potstill.student.model import Student

log = logging.getLogger(__name__)
WATCHED = "valid_forces"


class EarlyStopping(Callback):
    """Ends a training that no longer improves.

    Its state is part of each checkpoint, so a resumed training stops at the same epoch.

    Parameters
    ----------
    student
        Student with averaged weights, whose best state is kept.
    epochs
        Number of epochs without improvement after which the training ends.
    """

    def __init__(self, student: Student, epochs: int) -> None:
        self._student = student
        self._epochs = epochs
        self._best: dict[str, torch.Tensor] = {}
        self._error = math.inf
        self._epoch = 0
        self._stopped = False

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Stop at once a training that had stopped before it was killed."""
        trainer.should_stop = self._stopped

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        error, epoch = float(trainer.callback_metrics[WATCHED]), trainer.current_epoch + 1
        if error < self._error:
            self._error, self._epoch = error, epoch
            self._best = {name: tensor.detach().clone() for name, tensor in self._student.state_dict().items()}
        elif epoch - self._epoch >= self._epochs:
            self._stopped = trainer.should_stop = True
            log.info("stopped after epoch %d: the force error on 'valid' was least after epoch %d", epoch, self._epoch)

    def restore_best(self) -> None:
        """Set the weights of the student to its best ones."""
        if self._best:
            self._student.load_state_dict(self._best)

    def report(self) -> dict[str, float]:
        """Return the best epoch so far, its error, and whether the training stops."""
        if not self._best:
            return {}
        return {"best_epoch": self._epoch, f"best_{WATCHED}": self._error, "stopped_early": float(self._stopped)}

    def state_dict(self) -> dict[str, Any]:
        return {"best": self._best, "error": self._error, "epoch": self._epoch, "stopped": self._stopped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._best, self._error = state_dict["best"], state_dict["error"]
        self._epoch, self._stopped = state_dict["epoch"], state_dict["stopped"]
