"""What the tests of the GPU kernels share: small structures and students, and the answer in float64."""

from __future__ import annotations

import copy

import numpy as np
import torch
import triton

from potstill.core.batch import make_batch
from potstill.core.types import Structure
from potstill.student.model import Prediction, Student
from potstill.testing import random_student, rattled, triclinic, water
from potstill.testing.models import in_elements

ELEMENTS = [1, 6, 8, 14, 29]
SMALL = {"radial": 3, "cutoff_angstrom": 3.2, "features": 9, "channels": 5, "vectors": 3, "products": 4, "hidden": 11}


def device() -> str:
    return "cuda" if torch.cuda.is_available() and not triton.knobs.runtime.interpret else "cpu"


def lively(elements: list[int], **sizes) -> Student:
    """A student none of whose weights is as at the start, where some are alike."""
    model = random_student(elements, backend="torch", **sizes).model
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.add_(0.3 * parameter.abs().mean() * torch.randn(parameter.shape, generator=generator))
    model.scale.fill_(1.7)
    return model


def in_float64(model: Student, structures: list[Structure]) -> Prediction:
    exact = copy.deepcopy(model).cpu().double()
    exact.reference_energies = model.reference_energies.cpu()
    return exact.predict(make_batch(structures, model.architecture.cutoff_angstrom, dtype=torch.float64))


def few() -> list[Structure]:
    """A molecule, a skewed crystal, an atom alone: eight atoms of four elements."""
    alone = Structure(np.array([29]), np.zeros((1, 3)))
    return [in_elements(rattled(water()), [8, 1, 6]), in_elements(rattled(triclinic()), [6, 14, 8]), alone]


def assert_labels(labels, expected: Prediction, structures: list[Structure], close: float = 3e-5) -> None:
    start = 0
    for k, (found, structure) in enumerate(zip(labels, structures, strict=True)):
        forces = expected.forces[start : start + len(structure)].numpy()
        start += len(structure)
        assert abs(found.energy - float(expected.energy[k])) < close * max(1.0, abs(found.energy))
        assert np.abs(found.forces - forces).max() < close * max(1.0, np.abs(forces).max())
        assert (found.stress is None) == (not structure.pbc.all())
        if found.stress is not None:
            stress = expected.stress[k].numpy()
            assert np.abs(found.stress - stress).max() < close * max(1.0, np.abs(stress).max())
