"""A trained student for other elements, and for energies with another zero: the start of a fine-tuning.

Enter a student and the elements or energies of the new data, leave a student of its own. For elements that it knows and the
same energies, its predictions do not change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from potstill.core.types import Array
from potstill.student.alike import similarity
from potstill.student.model import Student
from potstill.student.options import StudentArchitecture

BY_ELEMENT = ("reference_energies", "embedding.weight", "element_gain", "coefficients")


def for_elements(student: Student, atomic_numbers: Sequence[int]) -> Student:
    """Return a student of these elements only.

    An element that the student knows keeps its weights; one that it does not know starts from the mean over those that it
    knows, weighted by their similarity. If there are fewer elements than expert matrices, each element gets its mixed matrix
    as an expert of its own: the predictions are the same, with fewer parameters.

    Parameters
    ----------
    student
        Left as it is.
    atomic_numbers
        Elements of the new student, ascending.
    """
    before = student.architecture
    mean = _means_over_known(before.atomic_numbers, atomic_numbers)
    tensors = {
        name: _mixed(mean, tensor) if name.endswith(BY_ELEMENT) else tensor for name, tensor in student.state_dict().items()
    }
    experts = min(before.experts, len(atomic_numbers))
    if experts < before.experts:
        tensors = _one_expert_per_element(tensors, experts)
    architecture = StudentArchitecture(
        **{**before.model_dump(exclude={"parameters_between"}), "experts": experts, "atomic_numbers": tuple(atomic_numbers)}
    )
    adapted = Student(architecture)
    adapted.load_state_dict({name: tensor.clone() for name, tensor in tensors.items()})
    return adapted.eval().requires_grad_(requires_grad=False)


def shift_reference_energies(student: Student, shift: Array) -> None:
    """Add (119,) eV, by atomic number, to the reference energies of a student: its predictions get another zero."""
    own = shift[list(student.architecture.atomic_numbers)]
    student.reference_energies += torch.from_numpy(own).to(student.reference_energies)


def _means_over_known(known: Sequence[int], wanted: Sequence[int]) -> torch.Tensor:
    """Return (wanted, known) weights: 1 for a known element itself, and similarities with the sum 1 for another one."""
    near = similarity(wanted, known)
    near /= near.sum(axis=1, keepdims=True)
    same = np.equal.outer(np.asarray(wanted), np.asarray(known))
    return torch.from_numpy(np.where(same.any(axis=1, keepdims=True), same, near))


def _mixed(weights: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """Return the weighted rows of a tensor; a row with weight 1 stays bit for bit."""
    return (
        (weights.to(tensor.device) @ tensor.double().reshape(len(tensor), -1)).to(tensor.dtype).view(-1, *tensor.shape[1:])
    )


def _one_expert_per_element(tensors: Mapping[str, torch.Tensor], experts: int) -> dict[str, torch.Tensor]:
    """Return weights in which the matrix that each element mixed is an expert; one expert has no coefficients."""
    found = dict(tensors)
    for name in [name for name in tensors if name.endswith(".coefficients")]:
        mixed = name.replace("coefficients", "weight")
        found[mixed] = tensors[name] @ tensors[mixed]
        found[name] = torch.eye(experts).to(tensors[name])
        if experts == 1:
            del found[name]
    return found
