"""The loss and the optimiser, as a Lightning module around a student and the average of its weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import lightning
import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from potstill.student.fused import FusedKernel, FusedTraining, kernel_of
from potstill.student.model import Kernel, Prediction, Student
from potstill.train import distributed as together
from potstill.train.data import LabelledBatch
from potstill.train.hints import Hints
from potstill.train.losses import (
    embeddings_loss,
    extras_needed,
    hessian_loss,
    local_energy_loss,
    mean_errors,
    mean_losses,
    weights_at,
    weights_by_atomic_number,
)
from potstill.train.options import TrainConfig

ADAM_BETAS = (0.9, 0.99)
FINAL_RATE = 1e-3  # of the highest learning rate


class Distillation(lightning.LightningModule):
    """Trains a student; ``averaged`` holds the exponential moving average of its weights and is what is kept.

    Parameters
    ----------
    student
        With its reference energies set.
    config
        Section ``train``, with a number for a learning rate.
    total_steps
        Optimiser steps of the whole training, which the cosine decay ends at.
    hints
        Learns along with the student, where ``node_embeddings`` have a weight.
    """

    def __init__(self, student: Student, config: TrainConfig, total_steps: int, hints: Hints | None = None) -> None:
        super().__init__()
        self.student = student
        self.averaged = copy.deepcopy(student).requires_grad_(requires_grad=False)
        self.config = config
        self.total_steps = total_steps
        self.hints = hints
        self.needed = extras_needed(config)
        self._element_weights = weights_by_atomic_number(config.element_weights)
        self._learning: Kernel | None = None
        self._watching: Kernel | None = None

    def on_train_start(self) -> None:
        """Choose what computes, once the student is where it will be trained."""
        self._learning = kernel_of(self.student, self.config.backend, FusedTraining)

    def on_validation_epoch_start(self) -> None:
        """The same for the averaged weights as they are now."""
        self._watching = kernel_of(self.averaged, self.config.backend, FusedKernel)

    def training_step(self, batch: LabelledBatch, batch_idx: int) -> torch.Tensor:
        """Weighted losses of one batch, whose means over the epoch are told."""
        loss, errors, structures = self._losses(batch)
        told = {"loss": loss, **{f"train_{name}": error for name, error in errors.items()}}
        self._tell(told, structures, on_step=False, on_epoch=True)  # mean over the epoch
        return loss

    def _tell(self, errors: Mapping[str, torch.Tensor], structures: int, **how: Any) -> None:
        for name, value in errors.items():
            self.log(name, value, batch_size=structures, sync_dist=together.processes() > 1, **how)

    def weighted_loss(self, batch: LabelledBatch) -> torch.Tensor:
        """What a step is taken by; once :meth:`on_train_start` was called, it needs no trainer and no other process."""
        return self._losses(batch, alone=True)[0]

    def _losses(self, batch: LabelledBatch, *, alone: bool = False) -> tuple[torch.Tensor, dict[str, torch.Tensor], int]:
        """The weighted loss, by name the losses and errors behind it, and of how many structures they are.

        Of several processes each has its share of them: their means over the processes are those of the whole batch.
        """
        chosen = self._in_turn(len(batch.energy)).to(batch.forces.device)
        share = self._share(batch, chosen, alone=alone or together.processes() == 1)
        if not len(batch.energy):
            nothing = 0.0 * torch.stack([p.sum() for p in self.learnt()]).sum()  # in step with the others
            return nothing, dict.fromkeys(share.of, nothing.detach()), share.structures
        predicted = self.student.predict(batch.inputs, training=True, kernel=self._learning)
        of_elements = None if self._element_weights is None else self._element_weights.to(batch.forces.device)
        losses = mean_losses(predicted, batch, self.config, of_elements)
        if "local_energies" in self.needed:
            losses["local_energies"] = self._local_energy_loss(self.student, predicted, batch, of_elements)
        if self.hints is not None:
            losses["node_embeddings"] = embeddings_loss(self.student, self.hints, batch, of_elements)
        if "hessian" in self.needed:
            losses["hessian"] = hessian_loss(
                self.student,
                batch,
                chosen,
                training=True,
                kernel=self._learning,
                element_weights=of_elements,
            )
        weights = weights_at(self.global_step / max(self.total_steps, 1), self.config)
        loss = torch.stack([weights[name] * share.of[name] * value for name, value in losses.items()]).sum()
        with torch.no_grad():
            errors = {name: share.of[name] * e for name, e in {**losses, **mean_errors(predicted, batch)}.items()}
        return loss, errors, share.structures

    def _share(self, batch: LabelledBatch, chosen: torch.Tensor, *, alone: bool) -> together.Share:
        """What this process has of a batch: structures, atoms, crystals with a stress, atoms whose Hessian is looked at."""
        if alone:
            return together.Share(dict.fromkeys(("energy", "forces", "stress", *self.needed), 1.0), len(batch.energy))
        atoms = batch.inputs.ptr.diff()
        counts = {"energy": len(atoms), "forces": len(batch.forces), "stress": int(batch.has_stress.sum())}
        every = len(batch.forces)
        extra = {"local_energies": every, "node_embeddings": every, "hessian": int(atoms[chosen].sum())}
        return together.share({**counts, **{name: extra[name] for name in self.needed}}, batch.forces.device)

    def validation_step(self, batch: LabelledBatch, batch_idx: int) -> None:
        """Errors of the averaged weights on families that are not trained on."""
        every = torch.arange(len(batch.energy), device=batch.forces.device)
        share = self._share(batch, every, alone=together.processes() == 1)
        if not len(every):
            self._tell({f"valid_{name}": batch.forces.new_zeros(()) for name in share.of}, share.structures)
            return
        predicted = self.averaged.predict(batch.inputs, kernel=self._watching)
        errors = mean_errors(predicted, batch)
        if "local_energies" in self.needed:
            errors["local_energies"] = self._local_energy_loss(self.averaged, predicted, batch, None)
        if self.hints is not None:
            errors["node_embeddings"] = embeddings_loss(self.averaged, self.hints, batch, None)
        if "hessian" in self.needed:
            errors["hessian"] = hessian_loss(self.averaged, batch, every, training=False, kernel=self._watching)
        self._tell({f"valid_{name}": share.of[name] * value for name, value in errors.items()}, share.structures)

    def _local_energy_loss(
        self, student: Student, predicted: Prediction, batch: LabelledBatch, of_elements: torch.Tensor | None
    ) -> torch.Tensor:
        references = student.reference_energies[student.species_of[batch.inputs.atomic_numbers]]
        return local_energy_loss(predicted, batch, references, of_elements)

    def _in_turn(self, structures: int) -> torch.Tensor:
        """The structures of a batch whose Hessian this step looks at: as many as the config says, by the step's number."""
        many = math.ceil(self.config.hessian_fraction * structures)
        return ((self.global_step * many + torch.arange(many)) % structures).sort().values

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Take a step, then move the averaged weights; the first steps, which forget the initial weights, count less."""
        super().optimizer_step(*args, **kwargs)
        decay = min(self.config.ema_decay, (1 + self.global_step) / (10 + self.global_step))
        with torch.no_grad():
            average = get_ema_multi_avg_fn(decay)
            average(list(self.averaged.parameters()), list(self.student.parameters()), 0)

    def learnt(self) -> list[nn.Parameter]:
        """All weights that steps change: the student's, and those of the hints."""
        return [p for p in self.parameters() if p.requires_grad]

    def configure_optimizers(self) -> Any:
        """AdamW with linear warm-up and cosine decay over all steps."""
        optimizer = optimizer_of(self.learnt(), float(self.config.learning_rate), self.config.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.rate_at)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def rate_at(self, step: int) -> float:
        """Learning rate at a step, relative to the highest."""
        progress = step / max(self.total_steps, 1)
        warmup = min((step + 1) / max(self.config.warmup_fraction * self.total_steps, 1.0), 1.0)
        return warmup * (0.5 * (1 + math.cos(math.pi * min(progress, 1.0))) + FINAL_RATE)


def optimizer_of(weights: list[nn.Parameter], learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW as the training uses it."""
    return torch.optim.AdamW(weights, lr=learning_rate, weight_decay=weight_decay, betas=ADAM_BETAS, fused=True)
