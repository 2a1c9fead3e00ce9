"""The loss and the optimizer, as a Lightning module around a student and the average of its weights."""

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
from potstill.student.model import Kernel, Student
from potstill.train import distributed
from potstill.train.chosen_losses import total_loss, weights_by_atomic_number
from potstill.train.data import LabelledBatch
from potstill.train.hints import Hints
from potstill.train.losses import Comparison, HessianTerm, mean_errors
from potstill.train.muon import Muon, matrices_of
from potstill.train.options import TrainConfig

ADAM_BETAS = (0.9, 0.99)
FINAL_RATE = 1e-3  # of the highest learning rate


class Means:
    """Means over the structures of an epoch. Lightning's own take a millisecond for each value of each step."""

    def __init__(self, sums: Mapping[str, torch.Tensor] | None = None, structures: int = 0) -> None:
        self._sums, self._structures = dict(sums or {}), structures

    def state(self) -> tuple[dict[str, torch.Tensor], int]:
        """Return what makes the same object again."""
        return self._sums, self._structures

    def add(self, values: Mapping[str, torch.Tensor], structures: int) -> None:
        """Add () values that are means over a number of structures."""
        for name, value in values.items():
            weighted = structures * value.double()
            self._sums[name] = self._sums[name] + weighted if name in self._sums else weighted
        self._structures += structures

    def taken(self) -> tuple[dict[str, torch.Tensor], int]:
        """Return the means and the number of structures, and begin anew."""
        sums, structures = self._sums, self._structures
        self._sums, self._structures = {}, 0
        return {name: (total / max(structures, 1)).float() for name, total in sums.items()}, structures


class Distillation(lightning.LightningModule):
    """Trains a student; ``averaged`` contains the exponential moving average of its weights, which is the result.

    Parameters
    ----------
    student
        Student with its reference energies set.
    config
        Section ``train``, with a number for a learning rate.
    total_steps
        Optimizer steps of the whole training, at which the cosine decay ends.
    hints
        Hints to train with the student, where ``node_embeddings`` have a weight.

    Attributes
    ----------
    loss
        Terms of the loss.
    element_weights
        (119,) weights by atomic number, or None where all are 1.
    training_kernel, validation_kernel
        Kernels of the local energies in training and in validation; None is PyTorch. They are chosen at the start of each.
    """

    def __init__(self, student: Student, config: TrainConfig, total_steps: int, hints: Hints | None = None) -> None:
        super().__init__()
        self.student = student
        self.averaged = copy.deepcopy(student).requires_grad_(requires_grad=False)
        self.config = config
        self.total_steps = total_steps
        self.hints = hints
        self.loss = total_loss(config, hints)
        self.training_kernel: Kernel | None = None
        self.validation_kernel: Kernel | None = None
        self._needs_features = hints is not None
        self._means = Means()
        self.element_weights = weights_by_atomic_number(config.element_weights)

    def on_train_start(self) -> None:
        """Choose the kernel, once the student is on its device."""
        self.training_kernel = kernel_of(self.student, self.config.backend, FusedTraining)

    def on_validation_epoch_start(self) -> None:
        """Choose the kernel for the current averaged weights."""
        self.validation_kernel = kernel_of(self.averaged, self.config.backend, FusedKernel)

    def training_step(self, batch: LabelledBatch, batch_idx: int) -> torch.Tensor:
        """Return the loss of one batch; with the last one of an epoch, log the means of the errors."""
        loss, errors, structures = self._losses(batch)
        self._means.add({"loss": loss.detach(), **{f"train_{name}": error for name, error in errors.items()}}, structures)
        if batch_idx + 1 == self.trainer.num_training_batches:
            means, structures = self._means.taken()
            self._log_errors(means, structures, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: LabelledBatch, batch_idx: int) -> None:
        """Log the errors of the averaged weights on families that are not trained on."""
        every = torch.arange(len(batch.energy), device=batch.forces.device)
        share = self._share(batch, every, alone=distributed.processes() == 1)
        if len(every):
            kernel = self.validation_kernel
            predicted = self.averaged.predict(batch.inputs, kernel=kernel, features=self._needs_features)
            seen = Comparison(self.averaged, predicted, batch, every, kernel)
            errors = {**self.loss.values(seen), **mean_errors(predicted, batch)}
        else:
            errors = dict.fromkeys(share.of, batch.forces.new_zeros(()))
        self._log_errors({f"valid_{name}": share.of[name] * value for name, value in errors.items()}, share.structures)

    def _log_errors(self, errors: Mapping[str, torch.Tensor], structures: int, **how: Any) -> None:
        for name, value in errors.items():
            self.log(name, value, batch_size=structures, sync_dist=distributed.processes() > 1, **how)

    def weighted_loss(self, batch: LabelledBatch) -> torch.Tensor:
        """Return the loss of one batch; after :meth:`on_train_start` it needs no trainer and no other process."""
        return self._losses(batch, alone=True)[0]

    def _losses(self, batch: LabelledBatch, *, alone: bool = False) -> tuple[torch.Tensor, dict[str, torch.Tensor], int]:
        """Return the weighted loss, its errors by name, and the number of structures in the whole batch.

        Where several processes train, each value is scaled so that its mean over the processes is that of the whole batch.
        """
        alone = alone or distributed.processes() == 1
        chosen = self._compared(batch, alone=alone).to(batch.forces.device)
        share = self._share(batch, chosen, alone=alone)
        if not len(batch.energy):  # all processes must take the same steps
            nothing = 0.0 * torch.stack([p.sum() for p in self.trainable()]).sum()
            return nothing, dict.fromkeys(share.of, nothing.detach()), share.structures
        kernel = self.training_kernel
        predicted = self.student.predict(batch.inputs, training=True, kernel=kernel, features=self._needs_features)
        weights_of_elements = None if self.element_weights is None else self.element_weights.to(batch.forces.device)
        values = self.loss.values(
            Comparison(
                self.student, predicted, batch, or_first(chosen), kernel, training=True, element_weights=weights_of_elements
            )
        )
        weights = self.loss.weights_at(self.global_step / max(self.total_steps, 1))
        loss = torch.stack([weights[name] * share.of[name] * value for name, value in values.items()]).sum()
        with torch.no_grad():
            errors = {name: share.of[name] * e for name, e in {**values, **mean_errors(predicted, batch)}.items()}
        return loss, errors, share.structures

    def _share(self, batch: LabelledBatch, chosen: torch.Tensor, *, alone: bool) -> distributed.Share:
        """Return the part of a batch that this process has, for each term of the loss."""
        if alone:
            return distributed.Share(dict.fromkeys(self.loss.names, 1.0), len(batch.energy))
        return distributed.share(self.loss.counts(batch.numbers(chosen)), batch.forces.device)

    def _compared(self, batch: LabelledBatch, *, alone: bool) -> torch.Tensor:
        """Return the structures of this process' part of a batch whose Hessian this step evaluates."""
        own = len(batch.energy)
        if not self.compares_hessians:
            return torch.zeros(0, dtype=torch.int64)
        if alone:
            return self.in_turn(own)
        return self.in_turn(distributed.total(own, batch.forces.device), distributed.rank(), distributed.processes())

    @property
    def compares_hessians(self) -> bool:
        """Return whether the loss has a term that compares Hessian products."""
        return any(isinstance(term, HessianTerm) for term in self.loss)

    def in_turn(self, structures: int, rank: int = 0, processes: int = 1) -> torch.Tensor:
        """Return the structures whose Hessian this step evaluates, ``hessian_fraction`` of a whole batch in turn.

        Parameters
        ----------
        structures
            Number of structures in the whole batch.
        rank, processes
            A process and their number: it has each structure whose number is ``rank`` modulo ``processes``.

        Returns
        -------
        torch.Tensor
            Numbers of the chosen structures in the part of that process, ascending; there may be none.
        """
        many = math.ceil(self.config.hessian_fraction * structures)
        whole = ((self.global_step * many + torch.arange(many)) % max(structures, 1)).sort().values
        return whole[whole % processes == rank] // processes

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Take a step, then move the averaged weights; the first steps, which forget the initial weights, count less."""
        super().optimizer_step(*args, **kwargs)
        decay = min(self.config.ema_decay, (1 + self.global_step) / (10 + self.global_step))
        with torch.no_grad():
            average = get_ema_multi_avg_fn(decay)
            average(list(self.averaged.parameters()), list(self.student.parameters()), 0)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the means of the epoch so far, those of all processes."""
        sums, structures = self._means.state()
        checkpoint["means"] = {name: distributed.mean(value) for name, value in sums.items()}, structures

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the means of the epoch so far; checkpoints of earlier versions have none."""
        self._means = Means(*checkpoint.get("means", ()))

    def trainable(self) -> list[nn.Parameter]:
        """Return all parameters that steps change: those of the student and of the hints."""
        return [p for p in self.parameters() if p.requires_grad]

    def configure_optimizers(self) -> Any:
        """Return the optimizer with linear warm-up and cosine decay over all steps."""
        optimizer = self.optimizer(float(self.config.rate))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.rate_at)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def optimizer(self, learning_rate: float) -> torch.optim.Optimizer:
        """Return the optimizer of the config for all trainable parameters."""
        weights, decay = self.trainable(), self.config.weight_decay
        if self.config.optimizer == "muon":
            matrices = matrices_of(self.student)
            return Muon(weights, matrices, lr=learning_rate, weight_decay=decay, betas=ADAM_BETAS)
        return torch.optim.AdamW(weights, lr=learning_rate, weight_decay=decay, betas=ADAM_BETAS, fused=True)

    def rate_at(self, step: int) -> float:
        """Return the learning rate at a step, relative to the highest."""
        progress = step / max(self.total_steps, 1)
        warmup = min((step + 1) / max(self.config.warmup_fraction * self.total_steps, 1.0), 1.0)
        return warmup * (0.5 * (1 + math.cos(math.pi * min(progress, 1.0))) + FINAL_RATE)


def or_first(chosen: torch.Tensor) -> torch.Tensor:
    """Return the chosen structures, or the first where there are none: its error has the weight 0 then."""
    return chosen if len(chosen) else chosen.new_zeros(1)
