"""Held-out structures that the start of a fine-tuning was trained on: on these a student is not judged fairly.

The training data of the start are those of its run. Those of an exported student, and of one that comes with the package,
are not at hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from potstill.audit.asked import generate_section
from potstill.dataset import Dataset, open_file
from potstill.student.files import read_student
from potstill.train.provenance import KEY, digest_of_file

DIGITS = 4  # of positions in Å


def seen_by_start(name: str, folder: Path, held_out: Dataset) -> dict[str, Any]:
    """Count the held-out structures that a start was trained on.

    Parameters
    ----------
    name, folder
        Name of the start as the config has it, and folder of its files.
    held_out
        Dataset whose part ``test`` judges the student.

    Returns
    -------
    dict
        ``name``, ``held_out`` (number of structures) and ``seen``: number of those whose family the start was trained on, or
        which it was trained on themselves; None where its training data are not at hand.
    """
    test = held_out.split("test")
    found = {"name": name, "held_out": len(test), "seen": None}
    before = _dataset_of(folder)
    if before is None:
        return found
    by_family = all(generate_section(d.attributes).get("families") != "structure" for d in (held_out, before))
    trained = {_key(before, k, by_family=by_family) for k in before.split("train")}
    return {**found, "seen": sum(_key(held_out, k, by_family=by_family) in trained for k in test)}


def _dataset_of(folder: Path) -> Dataset | None:
    """Return the dataset that a student was trained on, from the run folder around it; None where it has none."""
    path = folder.parent / "dataset.h5"
    if not path.is_file():
        return None
    dataset = open_file(path)
    stated = read_student(folder)[1].get(KEY) or {}
    return dataset if stated.get("dataset") == digest_of_file(dataset) else None


def _key(dataset: Dataset, k: Any, *, by_family: bool) -> Any:
    structure = dataset[int(k)]
    if by_family:
        return structure.family
    return structure.atomic_numbers.tobytes(), np.round(structure.positions, DIGITS).tobytes()
