"""Runs MolDiff's own script. Runs in MolDiff's environment, from Python 3.8 on, with the checkout as working folder.

Arguments: a JSON object (repository, device, heavy_atoms: smallest and largest number, or null), then those of
``scripts/sample_drug3d.py`` except the device.
"""

from __future__ import annotations

import collections
import importlib
import json
import random
import runpy
import sys
from typing import Any


def seed_with_any_integer() -> None:
    """Make ``random.seed`` accept NumPy's integers, which Python refuses since 3.11 and MolDiff uses."""
    original = random.seed

    def seed(a: Any = None, version: int = 2) -> None:
        original(int(a) if hasattr(a, "__index__") else a, version)

    random.seed = seed


def keep_sizes(smallest: int, largest: int) -> None:
    """Repeat the draw of the number of heavy atoms until it is in the range."""
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


def load_without_code(torch: Any) -> None:
    """Make ``torch.load`` open checkpoints as data, its default since 2.6, although their config is an EasyDict.

    The EasyDict is read as an OrderedDict, which torch allows, and converted back afterwards.
    """
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if version < (2, 6):
        return
    easydict = importlib.import_module("easydict").EasyDict
    torch.serialization.add_safe_globals([(collections.OrderedDict, "easydict.EasyDict")])
    original = torch.load

    def load(*args: Any, **kwargs: Any) -> Any:
        checkpoint = original(*args, **kwargs)
        if isinstance(checkpoint, dict) and isinstance(checkpoint.get("config"), dict):
            checkpoint["config"] = easydict(checkpoint["config"])
        return checkpoint

    torch.load = load


def main() -> None:
    """Prepare what the script needs, then run it."""
    order = json.loads(sys.argv[1])
    arguments = sys.argv[2:]
    sys.path[0] = order["repository"]
    torch = importlib.import_module("torch")
    load_without_code(torch)
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
