"""Early stop: the averaged student with the least force error on ``valid`` is kept, and where none is better, the end."""

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
    """Part of each checkpoint, so that a resumed training stops where it would have stopped.

    Parameters
    ----------
    student
        The average of the weights, whose best state is kept.
    epochs
        How many may pass without a better one.
    """

    def __init__(self, student: Student, epochs: int) -> None:
        self._student = student
        self._epochs = epochs
        self._best: dict[str, torch.Tensor] = {}
        self._error = math.inf
        self._epoch = 0
        self._stopped = False

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Do not go on with a training that had stopped before it was killed."""
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
        """Give the student the weights that were best; at the end."""
        if self._best:
            self._student.load_state_dict(self._best)

    def report(self) -> dict[str, float]:
        """For the errors of an epoch: which epoch was best so far, its error, and whether it ends here."""
        if not self._best:
            return {}
        return {"best_epoch": self._epoch, f"best_{WATCHED}": self._error, "stopped_early": float(self._stopped)}

    def state_dict(self) -> dict[str, Any]:
        return {"best": self._best, "error": self._error, "epoch": self._epoch, "stopped": self._stopped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._best, self._error = state_dict["best"], state_dict["error"]
        self._epoch, self._stopped = state_dict["epoch"], state_dict["stopped"]
