"""PyTorch's precision and modes, set for a call and set back after it.

PyTorch has one switch for the whole process, and packages turn it: on a GPU, orb-models changes every product to TF32, which
has ten bits of mantissa. Code that computes therefore sets the precision here.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Literal

Products = Literal["highest", "high", "medium"]


@contextmanager
def float32_products(precision: Products = "highest") -> Iterator[None]:
    """Set the precision of float32 products, and set back what was there before.

    Parameters
    ----------
    precision
        ``"highest"``: float32. ``"high"``: TF32 where the device has it. ``"medium"``: bfloat16 where the device has it.
    """
    import torch

    _hear_announcement()
    before = torch.get_float32_matmul_precision()
    if before == precision:
        yield
        return
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def own_modes(device_type: str) -> Iterator[None]:
    """Compute without the inference mode and the autocast of the caller, who may have set them for a model of their own.

    Parameters
    ----------
    device_type
        Type of the device that computes, such as ``"cpu"`` or ``"cuda"``.
    """
    import torch

    with ExitStack() as modes:
        if torch.is_inference_mode_enabled():
            modes.enter_context(torch.inference_mode(mode=False))
        if torch.is_autocast_enabled(device_type):
            modes.enter_context(torch.autocast(device_type, enabled=False))
        yield


@contextmanager
def own_defaults() -> Iterator[None]:
    """Make modules and tensors in float32 on the CPU, whatever dtype, device and inference mode the caller has set.

    PyTorch's default dtype belongs to the whole process. A module made in bfloat16 rounds the weights that are read into it.
    """
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.device("cpu"), torch.inference_mode(mode=False):
            yield
    finally:
        torch.set_default_dtype(before)


@cache
def _hear_announcement() -> None:
    """Let torch 2.9 announce another interface once and unseen, in the first call of a process."""
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Please use the new API settings", UserWarning)
        torch.get_float32_matmul_precision()


def float32_name(precision: Products, device_type: str) -> str:
    """Return the format of float32 products for a teacher's fingerprint: ``float32``, ``tf32`` or ``bfloat16``.

    >>> float32_name("high", "cuda"), float32_name("high", "cpu")
    ('tf32', 'float32')
    """
    return {"high": "tf32", "medium": "bfloat16"}.get(precision, "float32") if device_type == "cuda" else "float32"
