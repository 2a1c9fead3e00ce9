"""What a student is held against in training: a prediction and a labelled batch in, errors and weighted losses out."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from potstill.core.batch import displaced, some_of
from potstill.core.types import Batch
from potstill.student.model import N_ATOMIC_NUMBERS, Kernel, Prediction, Student
from potstill.train.data import LabelledBatch
from potstill.train.hints import EMBEDDINGS, Hints
from potstill.train.options import Loss, TrainConfig

STEP_ANGSTROM = 0.005  # root mean square of a displacement: that of the teacher's products, so that both mean the same
DIRECTIONS, PRODUCTS = "hessian_directions", "hessian_products"
EXTRAS_OF: dict[Loss, tuple[str, ...]] = {  # by the loss that needs them
    "local_energies": ("local_energies",),
    "node_embeddings": (EMBEDDINGS,),
    "hessian": (DIRECTIONS, PRODUCTS),
}


def mean_errors(prediction: Prediction, batch: LabelledBatch) -> dict[str, torch.Tensor]:
    """Mean absolute error of the energy per atom (eV), length of the force error (eV/Å), stress error (eV/Å^3)."""
    return _means(prediction, batch, (prediction.forces - batch.forces).norm(dim=1), None, None)


def mean_losses(
    prediction: Prediction, batch: LabelledBatch, config: TrainConfig, element_weights: torch.Tensor | None
) -> dict[str, torch.Tensor]:
    """The same, with the config's shape of the force loss and its weights of sources and elements."""
    forces = _shaped((prediction.forces - batch.forces).norm(dim=1), batch.forces.norm(dim=1), config)
    of_atom = None if element_weights is None else element_weights[batch.inputs.atomic_numbers]
    return _means(prediction, batch, forces, batch.weight, of_atom)


def _means(
    prediction: Prediction,
    batch: LabelledBatch,
    forces: torch.Tensor,
    of_structure: torch.Tensor | None,
    of_atom: torch.Tensor | None,
) -> dict[str, torch.Tensor]:
    energy = ((prediction.energy - batch.energy) / batch.inputs.ptr.diff()).abs()
    stress = (prediction.stress - batch.stress).abs().mean(dim=(1, 2))
    periodic = batch.has_stress.to(stress.dtype)
    if of_structure is not None:
        energy, stress = of_structure * energy, of_structure * stress
    return {
        "energy": energy.mean().to(stress.dtype),
        "forces": _per_atom(forces, batch.inputs, of_structure, of_atom),
        "stress": (stress * periodic).sum() / periodic.sum().clamp(min=1.0),
    }


def _per_atom(
    error: torch.Tensor, inputs: Batch, of_structure: torch.Tensor | None, of_atom: torch.Tensor | None
) -> torch.Tensor:
    if of_structure is not None:
        error = of_structure[inputs.structure] * error
    return (error if of_atom is None else of_atom * error).mean()


def _shaped(error: torch.Tensor, force: torch.Tensor, config: TrainConfig) -> torch.Tensor:
    """(N,) losses of the length of each force's error.

    With the scale s an error counts as e = error / (1 + |F| / s), where F is the teacher's force. With the width d of
    Huber's loss, e < d counts as e^2 / 2 d and a larger one as e - d / 2: with a small width it is the length itself.
    """
    if config.force_scale_ev_per_angstrom is not None:
        error = error / (1.0 + force / config.force_scale_ev_per_angstrom)
    width = config.huber_ev_per_angstrom
    return torch.where(error < width, error.square() / (2.0 * width), error - 0.5 * width) if width > 0 else error


def local_energy_loss(
    prediction: Prediction, batch: LabelledBatch, references: torch.Tensor, element_weights: torch.Tensor | None
) -> torch.Tensor:
    """Mean absolute error of the local energies in eV.

    Parameters
    ----------
    prediction, batch
        Of the same structures; the batch with the teacher's ``local_energies``.
    references
        (N,) eV, the student's reference energy of each atom, which the teacher's local energy includes.
    element_weights
        (119,) by atomic number, or None.
    """
    wanted = (batch.extra["local_energies"].double() - references).to(prediction.local_energies.dtype)
    of_atom = None if element_weights is None else element_weights[batch.inputs.atomic_numbers]
    return _per_atom((prediction.local_energies - wanted).abs(), batch.inputs, batch.weight, of_atom)


def embeddings_loss(
    student: Student, hints: Hints, batch: LabelledBatch, element_weights: torch.Tensor | None
) -> torch.Tensor:
    """Mean absolute error of the teacher's features as ``hints`` finds them in the student's, in units of their spread."""
    features = student.last_features(batch.inputs.edge_vectors, batch.inputs)
    of_atom = None if element_weights is None else element_weights[batch.inputs.atomic_numbers]
    return _per_atom(hints(features, batch.extra[EMBEDDINGS]), batch.inputs, batch.weight, of_atom)


def hessian_loss(
    student: Student,
    batch: LabelledBatch,
    chosen: torch.Tensor,
    *,
    training: bool,
    kernel: Kernel | None = None,
    element_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean length per atom of the error of the Hessian's products with the teacher's directions, in eV/Å^2.

    Parameters
    ----------
    student
        Whose Hessian it is.
    batch
        With ``hessian_directions`` v and ``hessian_products`` H v of the teacher.
    chosen
        (k,) structures of the batch; each costs twice what its forces cost.
    training, kernel
        As for :meth:`~potstill.student.model.Student.predict`.
    element_weights
        (119,) by atomic number, or None.
    """
    inputs, atoms = some_of(batch.inputs, chosen)
    found = hessian_vector_products(student, inputs, batch.extra[DIRECTIONS][atoms], training=training, kernel=kernel)
    error = (found - batch.extra[PRODUCTS][atoms]).norm(dim=1)
    of_structure = None if batch.weight is None else batch.weight[chosen]
    of_atom = None if element_weights is None else element_weights[inputs.atomic_numbers]
    return _per_atom(error, inputs, of_structure, of_atom)


def hessian_vector_products(
    student: Student, batch: Batch, directions: torch.Tensor, *, training: bool, kernel: Kernel | None = None
) -> torch.Tensor:
    """(N, 3) H v = -(F(x + h v) - F(x - h v)) / 2h in eV/Å^2, with the neighbours of x: forces twice, no third derivative.

    In training the gradient reaches the weights by both forces, so that whatever computes forces can learn from it. The
    directions v have a root mean square of about 1. Products in training are those of Amin, Raja and Krishnapriyan, "Towards
    fast, specialized machine learning force fields", ICLR (2025).
    """
    ahead, behind = (
        student.predict(displaced(batch, sign * directions), training=training, kernel=kernel).forces
        for sign in (STEP_ANGSTROM, -STEP_ANGSTROM)
    )
    return (behind - ahead) / (2.0 * STEP_ANGSTROM)


def weights_at(progress: float, config: TrainConfig) -> dict[str, float]:
    """Weight of each loss at a share of the training: as given, after ``late_from`` on the way to ``late_weights``."""
    gone = min(max((progress - config.late_from) / (1.0 - config.late_from), 0.0), 1.0)
    first: dict[Loss, float] = {
        "energy": config.energy_weight,
        "forces": config.forces_weight,
        "stress": config.stress_weight,
        "local_energies": config.local_energies_weight,
        "node_embeddings": config.node_embeddings_weight,
        "hessian": config.hessian_weight,
    }
    return {name: weight + gone * (config.late_weights.get(name, weight) - weight) for name, weight in first.items()}


def extras_needed(config: TrainConfig) -> dict[Loss, tuple[str, ...]]:
    """By loss that ever has a weight: what of ``/extra`` it is held against."""
    return {loss: names for loss, names in EXTRAS_OF.items() if config.wants(loss)}


def weights_by_atomic_number(by_symbol: Mapping[str, float]) -> torch.Tensor | None:
    """(119,) weights, 1 where none is given; None where all are 1."""
    from ase.data import atomic_numbers

    if not by_symbol:
        return None
    weights = torch.ones(N_ATOMIC_NUMBERS)
    for symbol, weight in by_symbol.items():
        weights[atomic_numbers[symbol]] = weight
    return weights
