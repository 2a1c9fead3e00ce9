"""A student where the caller has set modes of PyTorch for a model of their own: dtype, device, inference mode, autocast."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from potstill.deploy import load_student
from potstill.testing import copper, rattled

COPPER = Path(__file__).parent / "copper_student"
STRUCTURE = rattled(copper())


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


MODES = {
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "float64": lambda: default_dtype(torch.float64),
    "another device": lambda: torch.device("meta"),
}


@pytest.fixture(scope="module", params=["torch", "fused"])
def backend(request):
    return request.param


@pytest.mark.parametrize("loaded", [True, False], ids=["loaded in it", "loaded before"])
@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_modes_of_the_caller_change_nothing(backend, mode, loaded):
    student = load_student(COPPER, backend=backend)
    (expected,) = student.label([STRUCTURE])
    with mode():
        if loaded:
            student = load_student(COPPER, backend=backend)
        (found,) = student.label([STRUCTURE])
        within = torch.get_default_dtype(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")
    with mode():
        assert within == (torch.get_default_dtype(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"))
    assert found.energy == pytest.approx(expected.energy, abs=1e-6)
    np.testing.assert_allclose(found.forces, expected.forces, atol=1e-6)
    (after,) = student.label([STRUCTURE])
    assert after.energy == pytest.approx(expected.energy, abs=1e-6)
