"""Structures that a student, or the start of its fine-tuning, was trained on: on these it is not judged fairly.

The training data of the start are those of its run. Those of an exported student, of one that comes with the package, and
of the start of a start are not at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from potstill.audit.asked import generate_section
from potstill.core.types import Structure
from potstill.dataset import Dataset, open_file
from potstill.generate.filter import DuplicateFilter
from potstill.train.provenance import digest_of_file, stated


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
        which it was trained on themselves. None where its training data are not at hand, or where those that are contain
        none of them and the start went on from another student.
    """
    test = held_out.split("test")
    found = {"name": name, "held_out": len(test), "seen": None}
    before = _dataset_of(folder)
    if before is None:
        return found
    by_family = all(generate_section(d.attributes).get("families") != "structure" for d in (held_out, before))
    if by_family:
        trained = set(before.families[before.split("train")])
        seen = sum(family in trained for family in held_out.families[test])
    else:
        seen = _copies([held_out[int(k)] for k in test], before)
    went_on = (stated(folder) or {}).get("start") is not None
    return {**found, "seen": seen if seen or not went_on else None}


def trained_on(folder: Path, structures: Sequence[Structure]) -> int | None:
    """Count structures that a student was trained on, also wrapped, turned or with their atoms in another order.

    Parameters
    ----------
    folder
        Folder of the student's files.
    structures
        Structures that it is compared on.

    Returns
    -------
    int or None
        None where its training data are not at hand, in the run folder around it.
    """
    data = _dataset_of(folder)
    return None if data is None else _copies(structures, data)


def _copies(structures: Sequence[Structure], data: Dataset) -> int:
    """Count the structures of which the training part contains a copy."""
    asked = {np.sort(structure.atomic_numbers).tobytes() for structure in structures}
    numbers, ptr = data.column("atoms/atomic_numbers"), data.ptr
    known = DuplicateFilter()
    for k in data.split("train").tolist():
        if np.sort(numbers[ptr[k] : ptr[k + 1]]).tobytes() in asked:
            known.admit(data[k].with_(labels=None))
    return sum(known.knows(structure) for structure in structures)


def _dataset_of(folder: Path) -> Dataset | None:
    """Return the dataset that a student was trained on, from the run folder around it; None where it has none."""
    path = folder.parent / "dataset.h5"
    if not path.is_file():
        return None
    dataset = open_file(path)
    return dataset if (stated(folder) or {}).get("dataset") == digest_of_file(dataset) else None
