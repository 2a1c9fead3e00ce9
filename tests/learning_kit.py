"""A student whose derivatives by all weights can be compared."""

from __future__ import annotations

import torch

from potstill.student.model import Student
from potstill.testing import random_student

ELEMENTS = [1, 6, 8, 14, 29]


def lively(**sizes) -> Student:
    """A student that can learn and none of whose weights is as at the start."""
    model = random_student(ELEMENTS, backend="torch", **sizes).model.requires_grad_()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * parameter.abs().mean() * torch.randn(parameter.shape, generator=generator))
    model.scale.fill_(1.7)
    return model
