"""Terms of the loss: a labelled batch and a student's prediction in, one number per term out.

A term is one class: its weight, the columns of ``/extra`` that it needs, the items of its mean, and its value. Terms add up:
``EnergyTerm(1.0) + ForcesTerm(10.0)`` is a :class:`TotalLoss`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from potstill.core.batch import displaced_both_ways, some_of
from potstill.core.types import Batch
from potstill.student.model import Kernel, Prediction, Student
from potstill.train.data import Items, LabelledAtoms, LabelledBatch
from potstill.train.hints import EMBEDDINGS, Hints
from potstill.train.options import Loss

STEP_ANGSTROM = 0.005  # root mean square of a displacement: that of the teacher's products, so that both mean the same
DIRECTIONS, PRODUCTS = "hessian_directions", "hessian_products"


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """A labelled batch of S structures and N atoms beside a student's prediction of it.

    Parameters
    ----------
    student
        The student that predicts.
    prediction, batch
        Prediction and labels of the same structures.
    chosen
        (k,) structures whose Hessian products are compared.
    kernel, training
        As for :meth:`~potstill.student.model.Student.predict`.
    element_weights
        (119,) weight of an atom by its atomic number, or None where all are 1.
    """

    student: Student
    prediction: Prediction
    batch: LabelledAtoms
    chosen: torch.Tensor
    kernel: Kernel | None = None
    training: bool = False
    element_weights: torch.Tensor | None = None

    def mean_over_structures(self, error: torch.Tensor) -> torch.Tensor:
        """Return the mean of (S,) errors, weighted by structure."""
        return self.batch.mean_over_structures(error if self.batch.weight is None else self.batch.weight * error)

    def mean_over_atoms(self, error: torch.Tensor) -> torch.Tensor:
        """Return the mean of (N,) errors, weighted by structure and by element."""
        batch = self.batch
        return batch.mean_over_atoms(self._weighted(error, batch.structure, batch.atomic_numbers, batch.weight))

    def mean_over_chosen_atoms(self, error: torch.Tensor, inputs: Batch) -> torch.Tensor:
        """Return the weighted mean of the errors of the atoms of ``inputs``, the chosen structures."""
        by_structure = None if self.batch.weight is None else self.batch.weight[self.chosen]
        return self._weighted(error, inputs.structure, inputs.atomic_numbers, by_structure).mean()

    def _weighted(
        self,
        error: torch.Tensor,
        structure: torch.Tensor,
        atomic_numbers: torch.Tensor,
        by_structure: torch.Tensor | None,
    ) -> torch.Tensor:
        if by_structure is not None:
            error = by_structure[structure] * error
        return error if self.element_weights is None else self.element_weights[atomic_numbers] * error


class LossTerm(ABC):
    """One term of the loss.

    Parameters
    ----------
    weight
        Factor of its value.
    late_weight
        Weight at the end of the training; that of the beginning where None.
    late_from
        Share of the training after which the weight moves on a straight line to the late one.
    """

    name: ClassVar[Loss]
    columns: ClassVar[tuple[str, ...]] = ()  # of /extra in the dataset
    items: ClassVar[Items] = "atoms"  # that its mean is over

    def __init__(self, weight: float, *, late_weight: float | None = None, late_from: float = 0.5) -> None:
        self.weight, self.late_from = weight, late_from
        self.late_weight = weight if late_weight is None else late_weight

    def weight_at(self, progress: float) -> float:
        """Return the weight at a share of the training, from 0 to 1."""
        gone = min(max((progress - self.late_from) / (1.0 - self.late_from), 0.0), 1.0)
        return self.weight + gone * (self.late_weight - self.weight)

    @abstractmethod
    def value(self, seen: Comparison) -> torch.Tensor:
        """Return the () loss without its weight."""

    def __add__(self, other: LossTerm | TotalLoss) -> TotalLoss:
        return TotalLoss((self,)) + other


class TotalLoss:
    """A sum of terms.

    Parameters
    ----------
    terms
        Terms with different names.
    """

    def __init__(self, terms: Sequence[LossTerm] = ()) -> None:
        self.terms = tuple(terms)
        if len({term.name for term in terms}) < len(terms):
            raise ValueError(f"each loss term may be given once, found {[term.name for term in terms]}")

    def __add__(self, other: LossTerm | TotalLoss) -> TotalLoss:
        return TotalLoss((*self.terms, *(other.terms if isinstance(other, TotalLoss) else (other,))))

    def __iter__(self) -> Iterator[LossTerm]:
        return iter(self.terms)

    @property
    def names(self) -> list[Loss]:
        """Return the names of the terms."""
        return [term.name for term in self.terms]

    def counts(self, numbers: Mapping[Items, int]) -> dict[str, int]:
        """Return by term the number of items in its mean, from the numbers of all items of a batch."""
        return {term.name: numbers[term.items] for term in self.terms}

    def values(self, seen: Comparison) -> dict[str, torch.Tensor]:
        """Return the () value of each term."""
        return {term.name: term.value(seen) for term in self.terms}

    def weights_at(self, progress: float) -> dict[str, float]:
        """Return the weight of each term at a share of the training."""
        return {term.name: term.weight_at(progress) for term in self.terms}


class EnergyTerm(LossTerm):
    """Mean absolute error of the energy per atom in eV."""

    name = "energy"
    items = "structures"

    def value(self, seen: Comparison) -> torch.Tensor:
        return seen.mean_over_structures(_energy_errors(seen.prediction, seen.batch)).to(seen.prediction.forces.dtype)


class ForcesTerm(LossTerm):
    """Mean loss of the length of each force's error in eV/Å.

    With the scale s an error counts as e = error / (1 + |F| / s), where F is the teacher's force. With the width d of
    Huber's loss, e < d counts as e^2 / 2 d and a larger one as e - d / 2. With a small width it is the length itself.

    Parameters
    ----------
    weight
        Factor of its value.
    width, scale
        d and s in eV/Å; 0 and None leave the length as it is.
    late_weight, late_from
        As for :class:`LossTerm`.
    """

    name = "forces"

    def __init__(
        self,
        weight: float,
        *,
        width: float = 0.0,
        scale: float | None = None,
        late_weight: float | None = None,
        late_from: float = 0.5,
    ) -> None:
        super().__init__(weight, late_weight=late_weight, late_from=late_from)
        self.width, self.scale = width, scale

    def value(self, seen: Comparison) -> torch.Tensor:
        error = _force_errors(seen.prediction, seen.batch)
        if self.scale is not None:
            error = error / (1.0 + seen.batch.forces.norm(dim=1) / self.scale)
        if self.width > 0:
            error = torch.where(error < self.width, error.square() / (2.0 * self.width), error - 0.5 * self.width)
        return seen.mean_over_atoms(error)


class StressTerm(LossTerm):
    """Mean absolute error of the stress in eV/Å^3, over the structures that have one."""

    name = "stress"
    items = "stresses"

    def value(self, seen: Comparison) -> torch.Tensor:
        error = _stress_errors(seen.prediction, seen.batch)
        return _mean_stress(error if seen.batch.weight is None else seen.batch.weight * error, seen.batch)


class LocalEnergiesTerm(LossTerm):
    """Mean absolute error of the local energies in eV; those of the teacher include the student's reference energies."""

    name = "local_energies"
    columns = ("local_energies",)

    def value(self, seen: Comparison) -> torch.Tensor:
        student, found = seen.student, seen.prediction.local_energies
        references = student.reference_energies[student.species_of[seen.batch.atomic_numbers]]
        expected = (seen.batch.extra["local_energies"].double() - references).to(found.dtype)
        return seen.mean_over_atoms((found - expected).abs())


class NodeEmbeddingsTerm(LossTerm):
    """Mean absolute error of the teacher's features, in units of their spread, as a linear map predicts them.

    Parameters
    ----------
    weight
        Factor of its value.
    hints
        The linear map from the student's last features, which is trained with the student.
    late_weight, late_from
        As for :class:`LossTerm`.
    """

    name = "node_embeddings"
    columns = (EMBEDDINGS,)

    def __init__(self, weight: float, hints: Hints, *, late_weight: float | None = None, late_from: float = 0.5) -> None:
        super().__init__(weight, late_weight=late_weight, late_from=late_from)
        self.hints = hints

    def value(self, seen: Comparison) -> torch.Tensor:
        if seen.prediction.features is None:
            raise ValueError("the prediction has no features: call predict(…, features=True)")
        return seen.mean_over_atoms(self.hints(seen.prediction.features, seen.batch.extra[EMBEDDINGS]))


class HessianTerm(LossTerm):
    """Mean length per atom of the error of the Hessian's products with the teacher's directions, in eV/Å^2.

    Each chosen structure costs twice what its forces cost.
    """

    name = "hessian"
    columns = (DIRECTIONS, PRODUCTS)
    items = "products"

    def value(self, seen: Comparison) -> torch.Tensor:
        if not isinstance(seen.batch, LabelledBatch):
            raise TypeError("Hessian products need the positions of a LabelledBatch")
        inputs, atoms = some_of(seen.batch.inputs, seen.chosen)
        directions, expected = (seen.batch.extra[name][atoms] for name in self.columns)
        found = hessian_vector_products(seen.student, inputs, directions, training=seen.training, kernel=seen.kernel)
        return seen.mean_over_chosen_atoms((found - expected).norm(dim=1), inputs)


def mean_errors(prediction: Prediction, batch: LabelledAtoms) -> dict[str, torch.Tensor]:
    """Return mean errors: of the energy per atom (eV), the length of the force error (eV/Å), and the stress (eV/Å^3)."""
    return {
        "energy": batch.mean_over_structures(_energy_errors(prediction, batch)).to(prediction.forces.dtype),
        "forces": batch.mean_over_atoms(_force_errors(prediction, batch)),
        "stress": _mean_stress(_stress_errors(prediction, batch), batch),
    }


def _energy_errors(prediction: Prediction, batch: LabelledAtoms) -> torch.Tensor:
    return ((prediction.energy - batch.energy) / batch.sizes).abs()


def _force_errors(prediction: Prediction, batch: LabelledAtoms) -> torch.Tensor:
    return (prediction.forces - batch.forces).norm(dim=1)


def _stress_errors(prediction: Prediction, batch: LabelledAtoms) -> torch.Tensor:
    return (prediction.stress - batch.stress).abs().mean(dim=(1, 2))


def _mean_stress(error: torch.Tensor, batch: LabelledAtoms) -> torch.Tensor:
    known = batch.has_stress.to(error.dtype)
    return (error * known).sum() / known.sum().clamp(min=1.0)


def hessian_vector_products(
    student: Student, batch: Batch, directions: torch.Tensor, *, training: bool, kernel: Kernel | None = None
) -> torch.Tensor:
    """Return (N, 3) H v = -(F(x + h v) - F(x - h v)) / 2h in eV/Å^2. The neighbors are those of x.

    Forces are evaluated twice; there is no third derivative.

    In training the gradient reaches the weights by both forces, so any code that computes forces works. The directions v
    have a root mean square of about 1. Products in training are those of Amin, Raja and Krishnapriyan, "Towards fast,
    specialized machine learning force fields", ICLR (2025).
    """
    both = displaced_both_ways(batch, STEP_ANGSTROM * directions)
    ahead, behind = student.predict(both, training=training, kernel=kernel).forces.chunk(2)
    return (behind - ahead) / (2.0 * STEP_ANGSTROM)
