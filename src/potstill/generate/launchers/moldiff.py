"""Runs MolDiff's own script, as itself. Runs in its environment, from Python 3.8 on, with the checkout as working folder.

Arguments: a JSON object (repository, device, heavy_atoms: smallest and largest number, or null), then those of
``scripts/sample_drug3d.py`` except the device.
"""

from __future__ import annotations

import importlib
import json
import random
import runpy
import sys
from typing import Any


def seed_with_any_integer() -> None:
    """``random.seed`` refuses NumPy's integers since Python 3.11, and it is given one."""
    original = random.seed

    def seed(a: Any = None, version: int = 2) -> None:
        original(int(a) if hasattr(a, "__index__") else a, version)

    random.seed = seed


def keep_sizes(smallest: int, largest: int) -> None:
    """Draw numbers of heavy atoms again while they are outside."""
    numpy = importlib.import_module("numpy")
    transforms: Any = importlib.import_module("utils.transforms")
    original = transforms.make_data_placeholder
    normal = numpy.random.normal

    def bounded(loc: float, scale: float, size: int) -> Any:
        drawn = normal(loc, scale, size=size)
        for _ in range(1000):
            outside = (drawn < smallest) | (drawn >= largest + 1)
            if not outside.any():
                return drawn
            drawn[outside] = normal(loc, scale, size=int(outside.sum()))
        return numpy.clip(drawn, smallest, largest)

    def make_data_placeholder(*args: Any, **kwargs: Any) -> Any:
        numpy.random.normal = bounded
        try:
            return original(*args, **kwargs)
        finally:
            numpy.random.normal = normal

    transforms.make_data_placeholder = make_data_placeholder


def allow_checkpoints(torch: Any) -> None:
    """Its checkpoints hold an EasyDict, which torch reads since 2.6 only where it is told that it may."""
    allow = getattr(getattr(torch, "serialization", None), "add_safe_globals", None)
    if allow is not None:
        allow([importlib.import_module("easydict").EasyDict])


def main() -> None:
    """Prepare what the script relies on, then run it."""
    order = json.loads(sys.argv[1])
    arguments = sys.argv[2:]
    sys.path[0] = order["repository"]
    torch = importlib.import_module("torch")
    allow_checkpoints(torch)
    seed_with_any_integer()
    if order["heavy_atoms"]:
        keep_sizes(*order["heavy_atoms"])
    device = order["device"]
    if device == "auto":
        device = "cuda:0" if torch.cuda.is_available() else "cpu"
    script = "scripts/sample_drug3d.py"
    sys.argv = [script, *arguments, "--device", device]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
