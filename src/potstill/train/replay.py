"""Replay: structures of earlier data beside the new ones, so that a fine-tuned student keeps its knowledge of them.

Each epoch has all new structures and a share of earlier ones, drawn anew. Earlier energies get the zero of the new ones.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from potstill.core.errors import InputError
from potstill.core.types import MAX_ATOMIC_NUMBER, Array, hill_formula
from potstill.dataset import Dataset, Records, RecordSource, Selection, open_file
from potstill.dataset.records import parts_of
from potstill.student.files import read_student
from potstill.student.model import Student
from potstill.student.options import StudentArchitecture
from potstill.student.shipped import student_folder
from potstill.teacher.fingerprints import is_other
from potstill.teacher.given import labels_given
from potstill.train.options import ReplayConfig, TrainConfig
from potstill.train.provenance import digest_of_file

LEAST_POOL = 10_000  # structures that are drawn from, if there are as many
TESTED = 500  # held-out structures of the earlier dataset that tell what was forgotten


@dataclass(frozen=True, slots=True, eq=False)
class Replay:
    """Earlier structures that a training sees beside the new ones.

    Parameters
    ----------
    dataset
        File that they are from.
    records
        Structures that are drawn from, with energies of the new zero.
    sources
        (S,) source of each.
    each_epoch
        Number of them in an epoch.
    share
        Share of them that the config asks for.
    """

    dataset: Dataset
    records: RecordSource
    sources: Array
    each_epoch: int
    share: float

    def origin(self) -> dict[str, Any]:
        """Return the part of :func:`potstill.train.provenance.described` that names the earlier data."""
        return {"dataset": digest_of_file(self.dataset), "share": self.share}


class Joined:
    """Records of two sources, one after the other.

    Parameters
    ----------
    first, second
        Sources; of ``extra`` both must have the same columns, or those that only one of them has are left out.
    """

    def __init__(self, first: RecordSource, second: RecordSource) -> None:
        self._sources, self._starts = (first, second), np.array([0, len(first)])
        self._length = len(first) + len(second)
        none = np.zeros(0, dtype=np.int64)
        self._columns = set(first.gather(none).extra) & set(second.gather(none).extra)

    def __len__(self) -> int:
        return self._length

    def gather(self, indices: Array) -> Records:
        """Return the records of these indices, in their order."""
        parts, places = parts_of(self._sources, self._starts, np.asarray(indices))
        parts = parts or [self._sources[0].gather(indices)]
        kept = [replace(part, extra={name: part.extra[name] for name in self._columns}) for part in parts]
        return Records.join(kept).gather(places)


class Shifted:
    """Records whose energies have another zero.

    Parameters
    ----------
    source
        Records.
    shift
        (119,) eV that are added for each atom, by atomic number.
    """

    def __init__(self, source: RecordSource, shift: Array) -> None:
        self._source, self._shift = source, shift

    def __len__(self) -> int:
        return len(self._source)

    def gather(self, indices: Array) -> Records:
        """Return the records of these indices."""
        records = self._source.gather(indices)
        by_atom = self._shift[records.atomic_numbers]
        structure = np.repeat(np.arange(len(records)), np.diff(records.ptr))
        energy = records.energy + np.bincount(structure, weights=by_atom, minlength=len(records))
        extra = dict(records.extra)
        if "local_energies" in extra:
            extra["local_energies"] = extra["local_energies"] + by_atom
        return replace(records, energy=energy, extra=extra)


def refuse_nothing_to_replay(options: ReplayConfig) -> None:
    """Refuse a dataset of ``train.replay`` before anything else is made.

    Raises
    ------
    InputError, DatasetError
        If the file is no dataset, or has no labels or no split.
    """
    dataset = open_file(options.dataset)
    if not dataset.labelled:
        raise InputError(f"{options.dataset} holds no labels\n  name the dataset.h5 of a run, or of potstill convert")
    dataset.split("train")


def replayed_rows(options: ReplayConfig, new: Dataset, start: StudentArchitecture) -> Array:
    """Return the rows of the earlier dataset that may be replayed.

    They are training structures of elements that the start knows. None has the composition of a held-out structure of the
    new data, on which the student is judged.

    Raises
    ------
    InputError
        If there are none.
    """
    dataset = open_file(options.dataset)
    held_out = {hill_formula(z, reduced=True) for z in numbers_of(new, [*new.split("valid"), *new.split("test")])}
    rows = dataset.split("train")
    kept = [
        row
        for row, z in zip(rows.tolist(), numbers_of(dataset, rows), strict=True)
        if np.isin(z, start.atomic_numbers).all() and hill_formula(z, reduced=True) not in held_out
    ]
    if not kept:
        raise InputError(
            f"train.replay: none of the {len(rows)} training structures of {options.dataset} can be replayed: each has the "
            "composition of a held-out structure, or an element that train.start does not know"
        )
    return np.array(kept)


def held_out_of(replay: Replay, student: StudentArchitecture) -> Selection | None:
    """Return held-out structures of the earlier dataset that a student can predict; None where there are none."""
    rows = replay.dataset.split("test")
    kept = rows[[bool(np.isin(z, student.atomic_numbers).all()) for z in numbers_of(replay.dataset, rows)]]
    return Selection(replay.dataset, kept[:: max(1, len(kept) // TESTED)][:TESTED]) if len(kept) else None


def same_teacher(first: Dataset, second: Dataset) -> bool:
    """Return whether one teacher labelled both datasets; labels from files may be of any."""
    if labels_given(first.attributes) or labels_given(second.attributes):
        return False
    found, recorded = (json.loads(d.attributes.get("teacher") or "{}") for d in (first, second))
    return bool(recorded) and not is_other(found, recorded)


def replay_of(config: TrainConfig, new: Dataset, start: Student, *, seed: int) -> Replay | None:
    """Return the replay of a training; None where the config has none.

    Parameters
    ----------
    config
        Section ``train``.
    new
        Dataset that is trained on.
    start
        Student that the training goes on from. The difference between its reference energies and those of ``train.start``
        is the shift of the earlier energies.
    seed
        Seed of the choice of structures, where the earlier dataset has more than are drawn from.
    """
    if config.replay is None:
        return None
    original = read_student(student_folder(config.start))[0]
    rows, dataset = replayed_rows(config.replay, new, original.architecture), open_file(config.replay.dataset)
    each_epoch = math.ceil(config.replay.for_each_new * len(new.split("train")))
    most = max(LEAST_POOL, each_epoch)
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    records = Shifted(Selection(dataset, rows), _shift(original, start))
    return Replay(dataset, records, dataset.sources[rows], min(each_epoch, len(rows)), config.replay.share)


def _shift(before: Student, after: Student) -> Array:
    """Return the (119,) change of the reference energies in eV by atomic number; 0 for elements that one does not know."""
    energies = np.zeros((2, MAX_ATOMIC_NUMBER + 1))
    common = sorted(set(before.architecture.atomic_numbers) & set(after.architecture.atomic_numbers))
    for found, student in zip(energies, (before, after), strict=True):
        of = dict(zip(student.architecture.atomic_numbers, student.reference_energies.tolist(), strict=True))
        found[common] = [of[z] for z in common]
    return np.asarray(energies[1] - energies[0])


def numbers_of(dataset: Dataset, rows: Sequence[int] | Array) -> list[Array]:
    """Return the atomic numbers of each of some structures."""
    numbers, ptr = dataset.column("atoms/atomic_numbers"), dataset.ptr
    return [numbers[ptr[row] : ptr[row + 1]] for row in rows]
