"""Elements that are alike start with weights that are alike: atomic numbers in, correlated random numbers out.

A student of many elements meets pairs of elements that no structure of its training has. If its weights vary smoothly over
the periodic table, it predicts them from similar pairs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from ase.data import covalent_radii

from potstill.core.types import Array
from potstill.student.layer import COEFFICIENTS_AT_START, ElementLinear
from potstill.student.model import Student

LENGTH = 2.0  # distance of descriptors over which weights are correlated
OWN = 0.3  # share of the standard deviation that an element shares with no other
UNITS = (0.25, 1.5, 0.7, 1.5, 3.0, 5.0)  # of the descriptors, in which each of them counts about as much
SUBSHELLS = sorted(((n, k) for n in range(1, 8) for k in range(min(n, 4))), key=lambda s: (sum(s), s[0]))  # Madelung's rule
JITTER = 1e-6


def start_alike(student: Student) -> None:
    """Draw the weights of a student that belong to elements anew, such that similar elements have similar ones.

    Parameters
    ----------
    student
        Student with random weights. Embeddings and coefficients of experts are changed.
    """
    architecture = student.architecture
    with torch.no_grad():
        student.embedding.weight.copy_(alike(architecture.atomic_numbers, architecture.features))
        for module in student.modules():
            if isinstance(module, ElementLinear) and len(module.weight) > 1:
                others = len(module.weight) - 1  # the first expert is that of all elements
                module.coefficients[:, 1:] = COEFFICIENTS_AT_START * alike(architecture.atomic_numbers, others)


def descriptors(atomic_numbers: Sequence[int]) -> Array:
    """Return (Z, 6): covalent radius in Å, period, and the number of valence electrons in s, p, d and f subshells.

    Subshells are filled by Madelung's rule. Those below a filled valence shell do not count.
    """
    return np.array([(covalent_radii[z], *_valence(z)) for z in atomic_numbers], dtype=np.float64)


def similarity(first: Sequence[int], second: Sequence[int]) -> Array:
    """Return (A, B) similarities of elements, from near 0 to 1 for the same: a Gaussian of their descriptors' distance."""
    one, other = (descriptors(numbers) / UNITS for numbers in (first, second))
    return np.asarray(np.exp(-0.5 * ((one[:, None] - other) ** 2).sum(axis=-1) / LENGTH**2))


def alike(atomic_numbers: Sequence[int], width: int) -> torch.Tensor:
    """Return (Z, width) normal random numbers, correlated between elements by the distance of their descriptors.

    They are drawn by PyTorch's default generator. The covariance is a Gaussian of the distance, and a part of their own.
    """
    covariance = similarity(atomic_numbers, atomic_numbers) + JITTER * np.eye(len(atomic_numbers))
    root = torch.from_numpy(np.linalg.cholesky(covariance)).float()
    shared, own = (torch.randn(len(atomic_numbers), width) for _ in range(2))
    return float(np.sqrt(1.0 - OWN**2)) * root @ shared + OWN * own


def _valence(atomic_number: int) -> tuple[int, int, int, int, int]:
    """Return the period of an element, and its valence electrons in s, p, d and f subshells."""
    left, filled = atomic_number, {}
    for n, momentum in SUBSHELLS:
        if left <= 0:
            break
        filled[n, momentum] = min(left, 4 * momentum + 2)
        left -= filled[n, momentum]
    period = max(n for n, _ in filled)
    p = filled.get((period, 1), 0)
    d = 0 if p else filled.get((period - 1, 2), 0)
    f = 0 if p or d else filled.get((period - 2, 3), 0)
    return period, filled[period, 0], p, d, f
