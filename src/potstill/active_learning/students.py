"""The student of a run during active learning: the first one is kept, and the latest one takes its place.

Takes folders of students. Each states its origin in its ``config.json``, see :mod:`potstill.train.provenance`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from potstill.active_learning.options import ActiveLearningConfig
from potstill.core.errors import InputError
from potstill.core.files import sealed, write_json
from potstill.student.uncertainty import FILE as UNCERTAINTY
from potstill.student.uncertainty import Uncertainty, save_uncertainty
from potstill.train.provenance import KEY, set_aside, stated


def made_from(first: Mapping[str, Any], options: ActiveLearningConfig, *, after_round: int | None = None) -> dict[str, Any]:
    """Return the origin of a run's student after active learning, as in its ``config.json``.

    Parameters
    ----------
    first
        Result of :func:`potstill.train.provenance.made_from` for the training before.
    options
        Section ``active_learning``.
    after_round
        The round, for a student between two rounds; None where active learning has finished.
    """
    between = {} if after_round is None else {"after_round": after_round}
    return {**first, "active_learning": {**options.model_dump(mode="json"), **between}}


def keep_first(student: Path, folder: Path) -> Path:
    """Copy the student of the first training to ``first/``, and rename the rounds of another one.

    Returns
    -------
    Path
        Folder of the copy, which does not change while active learning replaces the student.

    Raises
    ------
    InputError
        If neither folder holds a student.
    """
    first, found = folder / "first", stated(student)
    kept = stated(first)
    if kept is not None and (found is None or _before(found) == _before(kept)):
        return first
    if found is None:
        raise InputError(
            f"{student} contains no student with a stated origin, and {first} no copy of one\n"
            "  train it again with  potstill train RUN"
        )
    for old in (first, *sorted(folder.glob("[0-9][0-9]"))):
        if old.exists():
            set_aside(old, kept, found)
    first.mkdir(parents=True)
    _copy(student, first, "weights.safetensors", UNCERTAINTY, "config.json")
    return first


def errors_before(first: Path) -> dict[str, Any]:
    """Return what a student states about replay, with the errors of ``train.start``; empty without.

    Parameters
    ----------
    first
        Folder of the student of the first training, which went on from ``train.start``.
    """
    replay: dict[str, Any] = json.loads((first / "config.json").read_text(encoding="utf-8")).get("replay") or {}
    return replay


def take_over(latest: Path, student: Path, made_from: Mapping[str, Any]) -> None:
    """Copy a student's files over those of another; an interruption leaves no ``config.json``, and so no student.

    Parameters
    ----------
    latest, student
        Folder of the student to copy, and of the one that is replaced.
    made_from
        Origin, written into the ``config.json`` of the copy.
    """
    weights = "weights.safetensors"
    if stated(student) == made_from and (latest / weights).read_bytes() == (student / weights).read_bytes():
        return
    facts = json.loads((latest / "config.json").read_text(encoding="utf-8"))
    (student / "config.json").unlink(missing_ok=True)
    _copy(latest, student, weights, UNCERTAINTY)
    write_json(student / "config.json", {**facts, KEY: dict(made_from)})


def with_uncertainty(source: Path, folder: Path, uncertainty: Uncertainty, figures: Mapping[str, Any]) -> Path:
    """Write a copy of a student with other expected errors.

    Parameters
    ----------
    source, folder
        Folder of the student, and of the copy.
    uncertainty, figures
        The expected errors, and how well they predict true ones.

    Returns
    -------
    Path
        Folder of the copy.
    """
    facts = json.loads((source / "config.json").read_text(encoding="utf-8"))
    folder.mkdir(exist_ok=True)
    (folder / "config.json").unlink(missing_ok=True)
    _copy(source, folder, "weights.safetensors")
    checksum = save_uncertainty(uncertainty, folder)
    write_json(folder / "config.json", {**facts, "uncertainty": {**figures, **checksum}})
    return folder


def _before(made_from: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in made_from.items() if name != "active_learning"}


def _copy(source: Path, target: Path, *names: str) -> None:
    for name in names:
        if (source / name).is_file():
            with sealed(target / name) as temporary:
                shutil.copyfile(source / name, temporary)
