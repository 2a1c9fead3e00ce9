"""Fit of expected errors: a student and its data in, its :class:`~potstill.student.uncertainty.Uncertainty` out."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from potstill.core.types import Array
from potstill.dataset.records import RecordSource
from potstill.student.fused import FusedKernel, kernel_of
from potstill.student.model import Kernel, Student
from potstill.student.options import Backend
from potstill.student.uncertainty import Neighborhood, Uncertainty, conformal_factor, judge
from potstill.train.data import LabelledStructures

MOST_STRUCTURES = 10_000  # used for the fit: some hundred thousand atoms determine a matrix of a few hundred features
AT_ONCE = 64  # structures in one call of the student
REGULARISATION = 1e-5  # of the covariance and of the linear model, in mean squares of a feature
CORRECTIONS = (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0)  # regularizations that are tried for the correction by held-out families
FOLDS = 5
SMALLEST_ERROR = 0.05  # in mean errors: atoms whose force vanishes by symmetry have no error
FLOOR = 0.1  # of the mean force: shorter forces are no sign of smaller errors
NOISE_RANGE = (0.01, 0.99)  # quantiles over the atoms of the fit
EXPONENTS = (0.3, 0.7, 0.2)  # of noise, distance and force, where held-out structures are too few to tell
CURVE_POINTS, CURVE_ATOMS = 10, 20  # points of expected against found errors; smallest number of atoms at each
SMALLEST_STEP = 1e-3  # smallest step of the logarithm of the expectation
FLAGGED = 0.05  # share of the atoms of families not trained on
REACH = 0.9  # quantile of the distance, beyond which expected errors are at least proportional to it


@dataclass(frozen=True, slots=True, eq=False)
class Examined:
    """Features, forces and errors of N atoms of labelled structures.

    Parameters
    ----------
    features
        (N, H) last features.
    forces
        (N, 3) predicted forces in eV/Å.
    errors
        (N,) lengths of the forces' errors in eV/Å.
    structure
        (N,) number of each atom's structure.
    neighborhood
        Neighbors of the atoms.
    """

    features: torch.Tensor
    forces: torch.Tensor
    errors: torch.Tensor
    structure: torch.Tensor
    neighborhood: Neighborhood

    @property
    def structures(self) -> int:
        """Return the number of structures."""
        return len(self.structure.unique())

    def folds(self, seed: int) -> list[torch.Tensor]:
        """Return (N,) masks, at most five, that share out the structures; none where there are fewer than two."""
        number, place = self.structure.unique(return_inverse=True)
        count = min(FOLDS, len(number))
        shuffled = torch.from_numpy(np.random.default_rng(seed).permutation(len(number)))
        return [(shuffled % count)[place] == k for k in range(count)] if count > 1 else []

    def log_errors(self) -> torch.Tensor:
        """Return (N,) logarithms of the errors, which end at a twentieth of their mean."""
        return (self.errors + SMALLEST_ERROR * self.errors.mean().clamp(min=1e-9)).log()

    def __getitem__(self, mask: torch.Tensor) -> Examined:
        """Return the atoms of some structures, by a mask (N,) of atoms."""
        place, edges = (mask.cumsum(0) - 1).int(), self.neighborhood.edge_index
        kept = mask[edges[0]]
        near = Neighborhood(place[edges[:, kept]], self.neighborhood.weight[kept])
        return Examined(self.features[mask], self.forces[mask], self.errors[mask], self.structure[mask], near)


def fit_uncertainty(
    student: Student, training: RecordSource, watching: RecordSource, *, backend: Backend = "auto", seed: int = 0
) -> tuple[Uncertainty, dict[str, Any]]:
    """Fit expected errors to the training errors, and scale them to those of families that were not trained on.

    Parameters
    ----------
    student
        Trained student.
    training, watching
        Training records, and those of held-out families. Where there are none, training errors are used, which are
        smaller, and the bound is unknown.
    backend
        Kernel of the student.
    seed
        Seed of the parts of the cross-validation, and of the choice where there are more than 10,000 structures.

    Returns
    -------
    Uncertainty, dict
        The fit, and how well it predicts true errors of ``"valid"`` or ``"train"``.
    """
    kernel = kernel_of(student, backend, FusedKernel)
    seen = examined(student, training, kernel, seed)
    model = _Model.of(seen)
    if len(watching):
        held = examined(student, watching, kernel, seed)
        model, noise = _corrected(model, held, seed)
        found, report = _calibrated(model.draft(torch.cat([model.noise_of(seen), noise])), held, noise)
        return found, {"of": "valid", **report}
    noise, distance = _unseen(model, seen, seed)
    found, report = _calibrated(model.draft(noise), seen, noise, distance=distance)
    return found, {"of": "train", **report}


def recalibrate(
    student: Student, uncertainty: Uncertainty, fresh: RecordSource, typical: RecordSource
) -> tuple[Uncertainty, dict[str, Any]]:
    """Fit expected errors to those of labelled structures that the student was not trained on.

    Parameters
    ----------
    student, uncertainty
        A student, and the fit of its training.
    fresh
        Records of structures of the kind that the student is used for, such as frames of its own MD. They determine the
        exponents, so they may be chosen for large expected errors.
    typical
        Records of such structures as they come. They determine scale, curve, threshold and bound.

    Returns
    -------
    Uncertainty, dict
        The fit, and how well it predicts the errors of ``typical``.
    """
    kernel = kernel_of(student, "auto", FusedKernel)
    exact = replace(uncertainty.to("cpu", torch.float64), neighbors=torch.ones(()))
    spread, usual = (examined(student, records, kernel, 0) for records in (fresh, typical))
    columns = _columns(exact, spread, exact.log_noise(spread.features))
    return _calibrated(exact, usual, exact.log_noise(usual.features), exponents=_exponents(columns, spread))


def examined(student: Student, source: RecordSource, kernel: Kernel | None, seed: int) -> Examined:
    """Return features, forces and errors of every atom, in float64."""
    data = LabelledStructures(source, student.architecture.cutoff_angstrom)
    chosen: Array = np.arange(len(data))
    if len(data) > MOST_STRUCTURES:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, MOST_STRUCTURES, replace=False))
    features, forces, errors, near, atoms = [], [], [], [], 0
    device, cutoff = student.embedding.weight.device, student.architecture.cutoff_angstrom
    for start in range(0, len(chosen), AT_ONCE):
        batch = data[chosen[start : start + AT_ONCE]].to(device)
        predicted = student.predict(batch.inputs, kernel=kernel, features=True)
        if predicted.features is not None:
            features.append(predicted.features.double().cpu())
        forces.append(predicted.forces.double().cpu())
        errors.append((predicted.forces - batch.forces).norm(dim=1).double().cpu())
        each = Neighborhood.of(batch.inputs.edge_index, batch.inputs.edge_vectors, cutoff)
        near.append(Neighborhood((each.edge_index + atoms).int().cpu(), each.weight.float().cpu()))
        atoms += len(batch.forces)
    neighborhood = Neighborhood(torch.cat([n.edge_index for n in near], 1), torch.cat([n.weight for n in near]))
    structure = torch.from_numpy(np.repeat(chosen, np.asarray(data.sizes)[chosen]))
    return Examined(torch.cat(features), torch.cat(forces), torch.cat(errors), structure, neighborhood)


@dataclass(frozen=True, slots=True, eq=False)
class _Model:
    """Factor of the distance, weights of the noise, and floor of the force, all from training atoms."""

    factor: torch.Tensor
    noise: torch.Tensor
    floor: torch.Tensor

    @classmethod
    def of(cls, seen: Examined) -> _Model:
        """Fit a model to training atoms."""
        features, mean_square = seen.features, seen.features.square().mean()
        covariance = features.T @ features / len(features)
        covariance.diagonal().add_(REGULARISATION * mean_square)
        factor = torch.linalg.inv(torch.linalg.cholesky(covariance))
        noise = _ridge(features, seen.log_errors(), REGULARISATION * mean_square)
        return cls(factor, noise, FLOOR * seen.forces.norm(dim=1).mean().clamp(min=1e-6))

    def noise_of(self, atoms: Examined) -> torch.Tensor:
        """Return (N,) logarithms of the error of similar atoms, without limits."""
        return atoms.features @ self.noise[:-1] + self.noise[-1]

    def draft(self, noise: torch.Tensor) -> Uncertainty:
        """Return the uncertainty before its scale, whose noise keeps within the range of (N,) values."""
        limits = torch.from_numpy(np.quantile(noise.numpy(), NOISE_RANGE))
        none = torch.tensor([0.0, 0.0, 0.0]).double()
        force = torch.stack([torch.zeros_like(self.floor), self.floor])
        zero, one = torch.zeros(()), torch.ones(())
        return Uncertainty(self.factor, self.noise, limits, none, zero, force=force, neighbors=one)


def _unseen(model: _Model, seen: Examined, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (N,) noises and (N,) logarithms of distances of training atoms, each by a model of other structures.

    A single structure has no others, and is measured by ``model``, which is that of all.
    """
    noise = model.noise_of(seen)
    distance = model.draft(noise).log_distance(seen.features, seen.neighborhood.means)
    for part in seen.folds(seed):
        other, rest = _Model.of(seen[~part]), seen[part]
        noise[part] = other.noise_of(rest)
        distance[part] = other.draft(noise).log_distance(rest.features, rest.neighborhood.means)
    return noise, distance


def _corrected(model: _Model, held: Examined, seed: int) -> tuple[_Model, torch.Tensor]:
    """Return a model whose noise is corrected by held-out atoms, and their (N,) noises by models of other structures.

    The correction is a linear model with the regularization of the smallest error in a cross-validation. There is none
    where none lowers that error.
    """
    before = model.noise_of(held)
    left = held.log_errors() - before
    offset = left.mean()
    best, chosen, noise = (left - offset).square().mean(), None, before
    scale, folds = held.features.square().mean(), held.folds(seed)
    for each in CORRECTIONS if len(folds) == FOLDS else ():
        told = torch.zeros_like(before)
        for part in folds:
            weights = _ridge(held.features[~part], left[~part], each * scale)
            told[part] = held.features[part] @ weights[:-1] + weights[-1]
        error = (left - told).square().mean()
        if error < best:
            best, chosen, noise = error, each, before + told
    if chosen is None:
        return model, before
    return replace(model, noise=model.noise + _ridge(held.features, left, chosen * scale)), noise


def _calibrated(
    draft: Uncertainty,
    atoms: Examined,
    noise: torch.Tensor,
    *,
    distance: torch.Tensor | None = None,
    exponents: torch.Tensor | None = None,
) -> tuple[Uncertainty, dict[str, Any]]:
    """Return an uncertainty in the scale of the errors of N atoms, and how well it predicts these.

    Parameters
    ----------
    draft
        Uncertainty before its scale.
    atoms
        The atoms.
    noise
        (N,) logarithms of the errors of similar atoms.
    distance
        (N,) logarithms of distances where these are training atoms. Their errors determine neither the exponents, nor a
        curve, nor a bound.
    exponents
        (3,) exponents; None to fit them to the atoms.
    """
    columns = _columns(draft, atoms, noise, distance)
    if exponents is None:
        exponents = _exponents(columns, atoms) if distance is None else torch.tensor(EXPONENTS).double()
    a, b, g = exponents
    c, reach = torch.zeros_like(a), torch.tensor(np.quantile(columns[:, 1], REACH))
    scaled = replace(draft, coefficients=torch.stack([a, b, c]), force=torch.stack([g, draft.force[1]]), reach=reach)
    raw = scaled.log_score(*columns.T)
    c = atoms.errors.mean().clamp(min=1e-9).log() - torch.logsumexp(raw, 0) + math.log(len(raw))
    scaled = replace(scaled, coefficients=torch.stack([a, b, c]))
    if distance is None:
        scaled = replace(scaled, curve=calibration_curve(raw + c, atoms.errors))
    expected, errors = scaled.along_curve(raw + c).exp().numpy(), atoms.errors.numpy()
    threshold = torch.tensor(np.quantile(expected, 1 - FLAGGED))
    bound = torch.tensor(conformal_factor(expected, errors) if distance is None else 0.0)
    report = judge(expected, errors, float(threshold), float(bound))
    return replace(scaled, threshold=threshold, bound=bound).to("cpu", torch.float32), report


def _columns(draft: Uncertainty, atoms: Examined, noise: torch.Tensor, distance: torch.Tensor | None = None) -> torch.Tensor:
    """Return (N, 3) logarithms of noise, distance and force."""
    lowest, highest = draft.noise_range.unbind()
    known = draft.log_distance(atoms.features, atoms.neighborhood.means) if distance is None else distance
    return torch.stack([noise.clamp(lowest, highest), known, draft.log_force(atoms.forces)], dim=1)


def _exponents(columns: torch.Tensor, atoms: Examined) -> torch.Tensor:
    """Return (3,) exponents, none negative, of regularized least squares for the logarithms of the errors.

    One structure weighs as much as :data:`EXPONENTS`, to which few structures keep the result close.
    """
    from scipy.optimize import nnls

    wanted = atoms.log_errors()
    left = torch.cat([(columns - columns.mean(0)) / len(columns) ** 0.5, torch.eye(3).double() / atoms.structures**0.5])
    right = torch.cat(
        [(wanted - wanted.mean()) / len(columns) ** 0.5, torch.tensor(EXPONENTS).double() / atoms.structures**0.5]
    )
    return torch.from_numpy(nnls(left.numpy(), right.numpy())[0])


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
