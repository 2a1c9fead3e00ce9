"""The stage ``deploy``: ``student/`` in, one folder per engine out, each with a script that runs.

An export is loaded again and must give the energies and forces of the student it came from.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import ase.io
import numpy as np

from potstill.deploy.student import load_student
from potstill.errors import PotstillError
from potstill.types import Structure

LARGEST_DIFFERENCE = 1e-6  # eV and eV/Å


def deploy(student: Path, folder: Path, formats: Sequence[str], example: Structure) -> list[Path]:
    """Export a student.

    Parameters
    ----------
    student
        Folder of the trained student.
    folder
        ``deploy/`` of the run.
    formats
        ``"ase"``.
    example
        Structure that the exported script starts from, and that the export is tested with.

    Raises
    ------
    PotstillError
        If an export gives other numbers than the student.
    """
    return [_EXPORTERS[name](student, folder / name, example) for name in formats]


def _export_ase(student: Path, folder: Path, example: Structure) -> Path:
    target = folder / "student"
    target.mkdir(parents=True, exist_ok=True)
    for name in ("weights.safetensors", "config.json"):
        shutil.copyfile(student / name, target / name)
    ase.io.write(folder / "example.xyz", example.to_ase(), format="extxyz")
    script = resources.files("potstill.deploy").joinpath("run_ase.py.txt").read_text(encoding="utf-8")
    (folder / "run_md.py").write_text(script, encoding="utf-8")
    _compare(student, target, example)
    return folder


def _compare(original: Path, exported: Path, example: Structure) -> None:
    (a,), (b,) = (load_student(path).label([example]) for path in (original, exported))
    difference = max(abs(a.energy - b.energy), float(np.abs(a.forces - b.forces).max()))
    if not difference <= LARGEST_DIFFERENCE:
        raise PotstillError(f"the export in {exported} differs from its student by {difference:.2e} eV or eV/Å")


_EXPORTERS = {"ase": _export_ase}
