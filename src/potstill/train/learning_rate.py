"""The learning-rate finder: a student and its data in, a rate and the curve of a range test out.

A copy of the student takes a few hundred steps while the rate rises evenly on a logarithmic scale. The curve is the
loss of each batch divided by that of the untouched student on the same batch, so that batches can be compared.
The curve falls, has a flat bottom and then rises steeply; the rate taken is the middle of the bottom. The test is that of
Smith, "Cyclical learning rates for training neural networks", WACV (2017).
"""

from __future__ import annotations

import copy
import itertools
import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from potstill.core.errors import InputError, PotstillError
from potstill.core.files import sealed
from potstill.core.types import Array
from potstill.student.model import Student
from potstill.train.data import LabelledBatch, LabelledStructures
from potstill.train.hints import Hints
from potstill.train.job import TrainJob
from potstill.train.module import Distillation
from potstill.train.options import TrainConfig
from potstill.train.provenance import KEY
from potstill.train.sampler import BatchSampler

log = logging.getLogger(__name__)
FILE = "learning_rate.json"
STEPS = 240
LOWEST, HIGHEST = 1e-5, 1.0
BOTTOM = 1.2  # times the lowest loss: the curve's bottom lies below
WINDOW = 0.1  # decades: standard deviation of the Gaussian that smooths the curve
DIVERGED = 4.0  # times the lowest loss so far, over as many steps as a window has


@dataclass(frozen=True, slots=True)
class RateTest:
    """Result of a range test.

    Parameters
    ----------
    learning_rate
        Learning rate to train with.
    rates
        Learning rate of each step.
    losses
        Loss of each step's batch, divided by that of the untouched student on the same batch.
    smoothed
        Smoothed curve of the losses.
    """

    learning_rate: float
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]


def settled_rate(
    job: TrainJob, made_from: Mapping[str, Any], student: Student, data: LabelledStructures, hints: Hints | None = None
) -> float:
    """Return the learning rate of a training.

    For ``auto`` it is that of ``learning_rate.json``, if the same training wrote that file, else that of a range test,
    which writes the file.

    Parameters
    ----------
    job, made_from
        Training, and the origin of its student.
    student, data, hints
        Student, data and hints at the start of the training; they are not changed.

    Raises
    ------
    PotstillError
        If the file is damaged.
    """
    config, path = job.config, job.folder / FILE
    if config.rate == "auto" and not (path.exists() and _read(path).get(KEY) == made_from):
        test = find_learning_rate(student, config, data, job.sampler(data.sizes), hints=hints)
        log.info("learning rate %.2g by a range test of %d steps", test.learning_rate, len(test.rates))
        with sealed(path) as temporary:
            temporary.write_text(json.dumps({**asdict(test), KEY: dict(made_from)}), encoding="utf-8")
    return known_rate(config, job.folder)


def known_rate(config: TrainConfig, folder: Path) -> float:
    """Return the rate of a config; for ``auto``, the rate that a range test wrote into the folder of the student.

    Raises
    ------
    InputError
        If there was none.
    PotstillError
        If the file is damaged.
    """
    if config.rate != "auto":
        return config.rate
    if not (folder / FILE).exists():
        raise InputError(f"{folder} has no {FILE}: train.learning_rate is auto, and the student there was not trained by it")
    return float(_read(folder / FILE)["learning_rate"])


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if 0 < float(found["learning_rate"]) < math.inf:
            return dict(found)
        why = f"its learning_rate is {found['learning_rate']!r}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = str(error)
    raise PotstillError(f"{path} is damaged ({why})\n  remove it to repeat the range test:  rm -r {path}")


def find_learning_rate(
    student: Student, config: TrainConfig, data: LabelledStructures, batches: BatchSampler, *, hints: Hints | None = None
) -> RateTest:
    """Run a range test on a copy of the student.

    Parameters
    ----------
    student
        Student at the start of the training.
    config
        Section ``train``; its learning rate is not used.
    data, batches
        Training data, and their batches.
    hints
        Hints at the start of the training; they are not changed.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    test, untouched = (
        Distillation(copy.deepcopy(student), config, total_steps=STEPS, hints=copy.deepcopy(hints)).to(device)
        for _ in range(2)
    )
    test.on_train_start()
    untouched.on_train_start()
    optimizer = test.optimizer(LOWEST)
    rates, losses = np.geomspace(LOWEST, HIGHEST, STEPS), []
    for rate, made in zip(rates, _endless(data, batches), strict=False):
        batch = made.to(device)
        loss = test.weighted_loss(batch)
        losses.append(float(loss.detach() / untouched.weighted_loss(batch).detach()))
        if _diverged(losses):
            break
        for group in optimizer.param_groups:
            group["lr"] = float(rate)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(test.trainable(), config.clip_gradient)
        optimizer.step()
    return read_curve(rates[: len(losses)], losses)


def read_curve(rates: Array, losses: Sequence[float]) -> RateTest:
    """Return the middle of the bottom of a curve; a loss that is not finite ends the curve."""
    finite = list(itertools.takewhile(math.isfinite, losses))
    rates = rates[: len(finite)]
    if not len(rates):
        return RateTest(LOWEST, (), (), ())
    decades = np.log10(rates)
    weights = np.exp(-0.5 * ((decades[:, None] - decades) / WINDOW) ** 2)
    smoothed = np.exp(weights @ np.log(np.maximum(finite, 1e-12)) / weights.sum(axis=1))
    lowest = int(smoothed.argmin())
    above = smoothed > BOTTOM * smoothed[lowest]
    first = max(np.flatnonzero(above[:lowest]), default=-1) + 1
    last = lowest + int(np.argmax([*above[lowest:], True])) - 1
    chosen = math.sqrt(rates[first] * rates[last])
    return RateTest(chosen, tuple(rates.tolist()), tuple(finite), tuple(smoothed.tolist()))


def _diverged(losses: Sequence[float]) -> bool:
    if not math.isfinite(losses[-1]):
        return True
    width = max(1, round(2 * WINDOW * STEPS / math.log10(HIGHEST / LOWEST)))
    if len(losses) < 2 * width:
        return False
    means = np.convolve(losses, np.full(width, 1.0 / width), "valid")
    return bool(means[-1] > DIVERGED * means.min())


def _endless(data: LabelledStructures, batches: BatchSampler) -> Iterator[LabelledBatch]:
    return (data[indices] for epoch in itertools.count() for indices in batches.of_epoch(epoch))
