"""Fit of expected errors: a student and its data in, its :class:`~potstill.student.uncertainty.Uncertainty` out."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from potstill.core.types import Array
from potstill.dataset.records import RecordSource
from potstill.student.fused import FusedKernel, kernel_of
from potstill.student.model import Kernel, Student
from potstill.student.options import Backend
from potstill.student.uncertainty import Uncertainty, conformal_factor, judge
from potstill.train.data import LabelledStructures

MOST_STRUCTURES = 10_000  # used for the fit: some hundred thousand atoms determine a matrix of a few hundred features
AT_ONCE = 64  # structures in one call of the student
REGULARISATION = 1e-5  # of the covariance and of the linear model, in mean squares of a feature
SMALLEST_ERROR = 0.05  # in mean errors: atoms whose force vanishes by symmetry have no error
NOISE_RANGE = (0.01, 0.99)  # quantiles over the training atoms
CURVE_POINTS, CURVE_ATOMS = 10, 20  # points of expected against found errors; smallest number of atoms at each
SMALLEST_STEP = 1e-3  # smallest step of the logarithm of the expectation
FLAGGED = 0.05  # share of the atoms of families not trained on


def fit_uncertainty(
    student: Student, training: RecordSource, watching: RecordSource, *, backend: Backend = "auto", seed: int = 0
) -> tuple[Uncertainty, dict[str, Any]]:
    """Fit expected errors to the training errors, and scale them to those of families that were not trained on.

    Parameters
    ----------
    student
        Trained student.
    training, watching
        Training records, and those of held-out families. Where there are none, training errors, which are smaller,
        are used.
    backend
        Kernel of the student.
    seed
        Seed of the choice where there are more than 10,000 structures.

    Returns
    -------
    Uncertainty, dict
        The fit, and how well it predicts true errors of ``"valid"`` or ``"train"``.
    """
    kernel = kernel_of(student, backend, FusedKernel)
    features, errors = last_features_and_errors(student, training, kernel, seed)
    mean_square = features.square().mean()
    covariance = features.T @ features / len(features)
    covariance.diagonal().add_(REGULARISATION * mean_square)
    factor = torch.linalg.inv(torch.linalg.cholesky(covariance))
    smallest = SMALLEST_ERROR * errors.mean().clamp(min=1e-9)
    noise = _ridge(features, (errors + smallest).log(), REGULARISATION * mean_square)
    told = features @ noise[:-1] + noise[-1]
    quantiles = np.quantile(told.numpy(), NOISE_RANGE)
    draft = Uncertainty(factor, noise, torch.from_numpy(quantiles), torch.tensor([1.0, 1.0, 0.0]).double(), torch.zeros(()))
    judged = "valid" if len(watching) else "train"
    if judged == "valid":
        features, errors = last_features_and_errors(student, watching, kernel, seed)
    coefficients = _scaled(draft, features, errors, smallest)
    scaled = replace(draft, coefficients=coefficients)
    curved = replace(scaled, curve=calibration_curve(scaled.log_score(features), errors))
    expected = curved.expected_errors(features)
    threshold = torch.tensor(np.quantile(expected.numpy(), 1 - FLAGGED))
    bound = torch.tensor(conformal_factor(expected.numpy(), errors.numpy()))
    found = replace(curved, threshold=threshold, bound=bound)
    report = judge(expected.numpy(), errors.numpy(), float(threshold), float(bound))
    return found.to("cpu", torch.float32), {"of": judged, **report}


def last_features_and_errors(
    student: Student, source: RecordSource, kernel: Kernel | None, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (N, H) float64 features of every atom, and (N,) lengths of the force's error in eV/Å."""
    data = LabelledStructures(source, student.architecture.cutoff_angstrom)
    chosen: Array = np.arange(len(data))
    if len(data) > MOST_STRUCTURES:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, MOST_STRUCTURES, replace=False))
    features, errors = [], []
    device = student.embedding.weight.device
    for start in range(0, len(chosen), AT_ONCE):
        batch = data[chosen[start : start + AT_ONCE]].to(device)
        predicted = student.predict(batch.inputs, kernel=kernel, features=True)
        if predicted.features is not None:
            features.append(predicted.features.double().cpu())
        errors.append((predicted.forces - batch.forces).norm(dim=1).double().cpu())
    return torch.cat(features), torch.cat(errors)


def _ridge(features: torch.Tensor, wanted: torch.Tensor, regularisation: torch.Tensor) -> torch.Tensor:
    """Return (H + 1,) weights and constant of regularized least squares."""
    centre = features.mean(0)
    centred = features - centre
    matrix = centred.T @ centred / len(features)
    matrix.diagonal().add_(regularisation)
    weights = torch.linalg.solve(matrix, centred.T @ (wanted - wanted.mean()) / len(features))
    return torch.cat([weights, (wanted.mean() - centre @ weights)[None]])


def calibration_curve(score: torch.Tensor, errors: torch.Tensor) -> torch.Tensor:
    """Return (2, k) logarithms of mean expectations, and of mean errors that never fall, of k equal parts by score."""
    from scipy.optimize import isotonic_regression

    parts = [k.tolist() for k in np.array_split(np.argsort(score.numpy(), kind="stable"), CURVE_POINTS)]
    if len(parts[-1]) < CURVE_ATOMS:
        return torch.zeros(2, 0, dtype=score.dtype)
    x = torch.stack([score[part].logsumexp(0) - math.log(len(part)) for part in parts])
    if (x.diff() < SMALLEST_STEP).any():
        return torch.zeros(2, 0, dtype=score.dtype)
    found = [max(float(errors[part].mean()), 1e-9) for part in parts]
    return torch.stack([x, torch.from_numpy(isotonic_regression(np.log(found)).x)])


def _scaled(draft: Uncertainty, features: torch.Tensor, errors: torch.Tensor, smallest: torch.Tensor) -> torch.Tensor:
    """Return (3,) coefficients a, b, c, with b = 1 as in the formula, because familiar atoms cannot determine b.

    a is that of least squares for the logarithm, and c makes means agree.
    """
    noise, distance = draft.log_noise(features), draft.log_distance(features)
    wanted = (errors + smallest).log() - distance
    spread = noise.var(correction=0).clamp(min=1e-12)
    a = (((noise - noise.mean()) * (wanted - wanted.mean())).mean() / spread).clamp(0.0, 1.0)
    raw = a * noise + distance
    c = errors.mean().clamp(min=1e-9).log() - torch.logsumexp(raw, 0) + math.log(len(raw))
    return torch.stack([a, torch.ones_like(a), c])
