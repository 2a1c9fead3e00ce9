"""The stage ``deploy``: ``student/`` in, one folder per engine out, each with a script that runs.

An export is loaded again as its engine loads it, and must give the energies and forces of its student. No engine needs to be
installed where a student is exported: the log names exports that were not checked.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

import ase.io
import numpy as np

from potstill.core.errors import PotstillError
from potstill.core.files import name_aside
from potstill.core.types import Structure
from potstill.deploy.check import check_export
from potstill.deploy.stated_verdict import FILE as VERDICT
from potstill.deploy.stated_verdict import UNJUDGED, state_verdict
from potstill.deploy.student import load_student
from potstill.student.uncertainty import FILE as UNCERTAINTY

log = logging.getLogger(__name__)


def deploy(student: Path, folder: Path, formats: Sequence[str], example: Structure, verdict: str = UNJUDGED) -> list[Path]:
    """Export a student.

    Parameters
    ----------
    student
        Folder of the trained student.
    folder
        ``deploy/`` of the run.
    formats
        Formats of :data:`~potstill.config.DeployFormat`; a format given twice is exported once.
    example
        Structure that the exported script starts from, and that the export is tested with.
    verdict
        Verdict on the student with its reason, which each export states.

    Raises
    ------
    PotstillError
        If an export gives other numbers than the student.
    """
    return [_export(student, folder / name, name, example, verdict) for name in dict.fromkeys(formats)]


def _export(student: Path, folder: Path, name: str, example: Structure, verdict: str) -> Path:
    target = folder / "student"
    target.mkdir(parents=True, exist_ok=True)
    for file in ("weights.safetensors", "config.json", UNCERTAINTY):
        if (student / file).is_file():
            shutil.copyfile(student / file, target / file)
    (target / VERDICT).unlink(missing_ok=True)  # of an earlier student
    ase.io.write(folder / "example.xyz", example.to_ase(), format="extxyz")
    _WRITERS[name](folder, example)
    check_export(student, folder, name, example)
    state_verdict(folder, verdict)
    return folder


def _write_ase(folder: Path, _example: Structure) -> None:
    _write(folder / "run_md.py", "run_ase.py.txt")


def _write_lammps(folder: Path, example: Structure) -> None:
    from potstill.deploy.lammps import boundary, copy_sources, neighbor_style, plugin_path, write_data
    from potstill.deploy.student_file import write_student_file

    elements = write_data(example, folder / "example.data")
    write_student_file(folder / "student", folder / "student.potstill")
    copy_sources(folder)
    words = {"BOUNDARY": boundary(example), "ELEMENTS": " ".join(elements), "PLUGIN": plugin_path()}
    reach = load_student(folder / "student").cutoff_angstrom
    _write(folder / "in.potstill", "in.potstill.txt", NEIGHBOR=neighbor_style(example, reach), **words)


def _write_openmm(folder: Path, _example: Structure) -> None:
    _write(folder / "run_openmm.py", "run_openmm.py.txt")


def _write_torchsim(folder: Path, _example: Structure) -> None:
    _write(folder / "run_torchsim.py", "run_torchsim.py.txt")


def _write_metatomic(folder: Path, _example: Structure) -> None:
    from potstill.deploy.metatomic import export_fused, export_model

    shutil.rmtree(folder / "fused", ignore_errors=True)
    _write(folder / "run_metatomic.py", "run_metatomic.py.txt")
    if _make_or_leave_to_script(export_model, folder, "student.pt"):
        _make_or_leave_to_script(export_fused, folder, "fused")


def _write_ipi(folder: Path, example: Structure) -> None:
    from potstill.deploy.ipi import write_start

    masses, cell = write_start(example, folder / "start.xyz")
    _write(folder / "potstill_pes.py", "potstill_pes.py.txt")
    _write(
        folder / "input.xml", "input.xml.txt", MASSES=_numbers(masses), CELL=_numbers(cell.T)
    )  # i-PI's cell vectors are columns


def _write_pt2(folder: Path, _example: Structure) -> None:
    from potstill.deploy.pt2 import export_compiled

    _write(folder / "run_pt2.py", "run_pt2.py.txt")
    log.info("compiling the student, which takes up to some minutes")
    _make_or_leave_to_script(export_compiled, folder, "student.pt2")


def _make_or_leave_to_script(make: Callable[[Path, Path], Path], folder: Path, file: str) -> bool:
    """Make what needs a package or compiler; where that is missing, the script of the format will make it or do without."""
    if (folder / file).is_file():
        (folder / file).unlink()
    try:
        make(folder / "student", folder / file)
    except PotstillError as error:
        log.warning("%s was not made; its script will make it: %s", folder / file, error)
        return False
    return True


def _write(path: Path, template: str, **words: str) -> None:
    text = resources.files("potstill.deploy").joinpath(template).read_text(encoding="utf-8")
    for word, value in words.items():
        text = text.replace(word, value)
    if path.is_file() and (before := path.read_bytes()) != text.encode():
        kept = name_aside(path)
        kept.write_bytes(before)
        log.warning("%s had other content, which is kept as %s: it was edited, or is of an earlier export", path, kept.name)
    path.write_text(text, encoding="utf-8")


def _numbers(array: np.ndarray) -> str:
    return "[ " + ", ".join(f"{x:.17g}" for x in array.flat) + " ]"


_WRITERS: dict[str, Callable[[Path, Structure], None]] = {
    "ase": _write_ase,
    "lammps": _write_lammps,
    "openmm": _write_openmm,
    "torchsim": _write_torchsim,
    "metatomic": _write_metatomic,
    "ipi": _write_ipi,
    "pt2": _write_pt2,
}
