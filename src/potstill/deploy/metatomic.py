"""The student as one file ``student.pt`` that every engine of the metatomic family loads, without potstill.

The network is traced by TorchScript with every element's matrices made; what depends on counts (neighbours into slots, atoms
by element) is scripted. Engines bring positions and neighbour lists and take the derivative of the energy by themselves.
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
        Its folder.
    path
        File to write, ending in ``.pt``.
    dtype
        ``"float32"`` or ``"float64"``: of the network and of the positions that engines will give it.

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
