"""potstill: distil a big, slow machine-learned force field into a small, fast one that can be trusted.

The public names load on first use, so that ``import potstill`` imports neither torch nor any other heavy package. It sets
two environment variables, where the user set nothing of the kind. OpenMP reads ``OMP_WAIT_POLICY=PASSIVE`` when PyTorch is
loaded. Idle threads then sleep. Without it they spin, which costs as much as computing and stops others on busy cores.
``SPGLIB_WARNING=OFF`` stops spglib from printing where a tolerance finds no lattice, for others are tried.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from potstill.config import Config, load_config
    from potstill.core.errors import PotstillError
    from potstill.core.types import Batch, Labels, Refused, Structure
    from potstill.core.verdict import Finding
    from potstill.dataset import Dataset, open_dataset
    from potstill.deploy import DeployedStudent, load_student
    from potstill.teacher import load_teacher

__version__ = "0.1.0"

_WHERE = {
    "Batch": "potstill.core.types",
    "Config": "potstill.config",
    "Dataset": "potstill.dataset",
    "DeployedStudent": "potstill.deploy",
    "Finding": "potstill.core.verdict",
    "Labels": "potstill.core.types",
    "PotstillError": "potstill.core.errors",
    "Refused": "potstill.core.types",
    "Structure": "potstill.core.types",
    "load_config": "potstill.config",
    "load_student": "potstill.deploy",
    "load_teacher": "potstill.teacher",
    "open_dataset": "potstill.dataset",
}
__all__ = [
    "Batch",
    "Config",
    "Dataset",
    "DeployedStudent",
    "Finding",
    "Labels",
    "PotstillError",
    "Refused",
    "Structure",
    "load_config",
    "load_student",
    "load_teacher",
    "open_dataset",
]

if not os.environ.keys() & {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"}:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
os.environ.setdefault("SPGLIB_WARNING", "OFF")


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'potstill' has no attribute '{name}'")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
