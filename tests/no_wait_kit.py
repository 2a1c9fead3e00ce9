"""A mode of PyTorch in which operations fail that a CUDA graph cannot contain."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

WAITS = (
    "_local_scalar_dense",
    "nonzero",
    "unique",
    "masked_select",
    "bincount",
    "lift_fresh",
    "linalg_det",
    "_linalg",
    "linalg_lu",
)


class NoWait(TorchDispatchMode):
    """Raises where an operation would need the host to wait for the device, or a copy from the host."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name().removeprefix("aten::")
        assert not name.startswith(WAITS), f"{name} waits for the device"
        if name.startswith(("index.", "index_put")):
            indices = args[1]
            assert not any(i is not None and i.dtype == torch.bool for i in indices), (
                "an index of bools waits for the device"
            )
        return func(*args, **(kwargs or {}))
