"""The verdict on a student, stated beside its weights and in the folder of its export, which people copy without the run.

``VERDICT.txt`` lies beside the weights and in the exported folder, so that it travels with either. The input of LAMMPS
prints it, and :func:`potstill.load_student` warns of any other verdict than GO. The file beside the weights has the checksum
of the student on a second line, so that it is not taken for a verdict on other weights.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from potstill.core.files import sealed

FILE = "VERDICT.txt"
UNJUDGED = "NOT RUN: nobody judged this student before it was exported"
OF_ANOTHER = "NOT RUN: the verdict beside this student is that of another one"
IN_LAMMPS = re.compile(r'^print "student: .*"$', re.MULTILINE)
UNSAFE = re.compile(r'["$&#\n]')  # with a meaning in an input of LAMMPS


def state_verdict(export: Path, sentence: str) -> None:
    """Write a verdict into an exported folder.

    Parameters
    ----------
    export
        Folder of one format, with ``student/`` in it.
    sentence
        Word of the verdict, a colon and the reason.
    """
    state_beside(export, sentence)
    state_beside(export / "student", sentence)
    script = export / "in.potstill"
    if script.is_file():
        line = f'print "student: {UNSAFE.sub(" ", sentence)}"'
        text = IN_LAMMPS.sub(lambda _: line, script.read_text(encoding="utf-8"))
        with sealed(script) as file:
            file.write_text(text, encoding="utf-8")


def state_beside(folder: Path, sentence: str) -> None:
    """Write a verdict into a folder, with the checksum of the student there."""
    with sealed(folder / FILE) as file:
        student = f"student: {checksum}\n" if (checksum := _checksum(folder)) else ""
        file.write_text(f"{sentence}\n{student}", encoding="utf-8")


def stated_verdict(student: Path) -> str:
    """Return the verdict that stands beside the weights of a student; empty where none does."""
    try:
        sentence, *more = (student / FILE).read_text(encoding="utf-8", errors="replace").strip().split("\n")
    except OSError:
        return ""
    return OF_ANOTHER if more and more[-1] != f"student: {_checksum(student)}" else sentence


def _checksum(student: Path) -> str:
    """Return the checksum in the ``config.json`` of a student; empty where there is none."""
    try:
        return str(json.loads((student / "config.json").read_text(encoding="utf-8"))["checksum"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
