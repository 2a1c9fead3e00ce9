"""The loss and the optimiser, as a Lightning module around a student and the average of its weights."""

from __future__ import annotations

import copy
import math
from typing import Any

import lightning
import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from potstill.config import TrainConfig
from potstill.student.fused import FusedKernel, FusedTraining, kernel_of
from potstill.student.model import Kernel, Prediction, Student
from potstill.train.data import LabelledBatch

ADAM_BETAS = (0.9, 0.99)
FINAL_RATE = 1e-3  # of the highest learning rate


class Distillation(lightning.LightningModule):
    """Trains a student; ``averaged`` holds the exponential moving average of its weights and is what is kept.

    Parameters
    ----------
    student
        With its reference energies set.
    config
        Section ``train``.
    total_steps
        Optimiser steps of the whole training, which the cosine decay ends at.
    """

    def __init__(self, student: Student, config: TrainConfig, total_steps: int) -> None:
        super().__init__()
        self.student = student
        self.averaged = copy.deepcopy(student).requires_grad_(requires_grad=False)
        self.config = config
        self.total_steps = total_steps
        self._learning: Kernel | None = None
        self._watching: Kernel | None = None

    def on_train_start(self) -> None:
        """Choose what computes, once the student is where it will be trained."""
        self._learning = kernel_of(self.student, self.config.backend, FusedTraining)

    def on_validation_epoch_start(self) -> None:
        """The same for the averaged weights as they are now."""
        self._watching = kernel_of(self.averaged, self.config.backend, FusedKernel)

    def training_step(self, batch: LabelledBatch, batch_idx: int) -> torch.Tensor:
        """Weighted mean absolute errors of one batch."""
        errors = mean_errors(self.student.predict(batch.inputs, training=True, kernel=self._learning), batch)
        config = self.config
        loss = (
            config.energy_weight * errors["energy"]
            + config.forces_weight * errors["forces"]
            + config.stress_weight * errors["stress"]
        )
        for name, value in {"loss": loss, **{f"train_{name}": error for name, error in errors.items()}}.items():
            self.log(name, value, on_step=False, on_epoch=True, batch_size=len(batch.energy))  # mean over the epoch
        return loss

    def validation_step(self, batch: LabelledBatch, batch_idx: int) -> None:
        """Errors of the averaged weights on families that are not trained on."""
        errors = mean_errors(self.averaged.predict(batch.inputs, kernel=self._watching), batch)
        for name, value in errors.items():
            self.log(f"valid_{name}", value, batch_size=len(batch.energy), prog_bar=name == "forces")

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Take a step, then move the averaged weights; the first steps, which forget the initial weights, count less."""
        super().optimizer_step(*args, **kwargs)
        decay = min(self.config.ema_decay, (1 + self.global_step) / (10 + self.global_step))
        with torch.no_grad():
            average = get_ema_multi_avg_fn(decay)
            average(list(self.averaged.parameters()), list(self.student.parameters()), 0)

    def configure_optimizers(self) -> Any:
        """AdamW with linear warm-up and cosine decay over all steps."""
        optimizer = torch.optim.AdamW(
            self.student.parameters(),
            lr=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
            betas=ADAM_BETAS,
            fused=True,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.rate_at)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def rate_at(self, step: int) -> float:
        """Learning rate at a step, relative to the highest."""
        progress = step / max(self.total_steps, 1)
        warmup = min((step + 1) / max(self.config.warmup_fraction * self.total_steps, 1.0), 1.0)
        return warmup * (0.5 * (1 + math.cos(math.pi * min(progress, 1.0))) + FINAL_RATE)


def mean_errors(prediction: Prediction, batch: LabelledBatch) -> dict[str, torch.Tensor]:
    """Mean absolute error of the energy per atom (eV), length of the force error (eV/Å), stress error (eV/Å^3)."""
    atoms = batch.inputs.ptr.diff()
    stress = (prediction.stress - batch.stress).abs().mean(dim=(1, 2))
    periodic = batch.has_stress.to(stress.dtype)
    return {
        "energy": ((prediction.energy - batch.energy) / atoms).abs().mean().to(stress.dtype),
        "forces": (prediction.forces - batch.forces).norm(dim=1).mean(),
        "stress": (stress * periodic).sum() / periodic.sum().clamp(min=1.0),
    }
