"""The student as one file ``student.pt`` that every metatomic engine loads, without potstill.

The network is traced by TorchScript with every element's matrices computed. Code that depends on counts (neighbors into
slots, atoms by element) is scripted. Engines supply positions and neighbor lists and differentiate the energy themselves.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from potstill.core.registry import borrow
from potstill.deploy.student import load_student


def export_model(student: Path, path: Path, dtype: str = "float32") -> Path:
    """Write the student of a folder as a metatomic ``AtomisticModel``.

    Parameters
    ----------
    student
        Folder of the student.
    path
        File to write, ending in ``.pt``.
    dtype
        Precision of the network and of the positions that engines supply: ``"float32"`` or ``"float64"``.

    Raises
    ------
    MissingExtraError
        If metatomic is not installed.
    """
    borrow("metatomic", "engines", "the export to metatomic")
    borrow("metatomic.torch", "engines", "the export to metatomic")
    from potstill.deploy.metatomic_model import build_model

    deployed = load_student(student, dtype=dtype, backend="torch")
    with warnings.catch_warnings():
        for message in ("`torch.jit", "Converting a tensor", ".*registered as constants"):
            warnings.filterwarnings("ignore", message=message)
        build_model(deployed.model, deployed.elements, dtype).save(str(path))
    return path
