"""Replay: structures of earlier data beside the new ones, so that a fine-tuned student keeps its knowledge of them.

Each epoch has all new structures and a share of earlier ones, drawn anew. Earlier energies get the zero of the new ones.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from potstill.core.elements import symbols_of
from potstill.core.errors import InputError
from potstill.core.types import MAX_ATOMIC_NUMBER, Array, Structure, hill_formula
from potstill.dataset import Dataset, Records, RecordSource, Selection, open_file
from potstill.dataset.records import parts_of
from potstill.student.files import read_student
from potstill.student.model import Student
from potstill.student.options import StudentArchitecture
from potstill.student.shipped import elements_of, student_folder
from potstill.teacher.fingerprints import is_other
from potstill.teacher.given import labels_given
from potstill.train.chosen_losses import kinds_of, refuse_missing
from potstill.train.options import ReplayConfig, TrainConfig
from potstill.train.provenance import digest_of_file
from potstill.train.zero import zero_of

log = logging.getLogger(__name__)
WHO = "the dataset of train.replay"
ROUNDING = 1e-6  # eV
DECIMALS = 3  # of positions in Å, to which two structures are the same
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
    shift
        (119,) eV by which the energy of each of their atoms was shifted, by atomic number.
    sources
        (S,) source of each.
    each_epoch
        Number of them in an epoch.
    share
        Share of them that the config asks for.
    """

    dataset: Dataset
    records: RecordSource
    shift: Array
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


def refuse_nothing_to_replay(config: TrainConfig, options: ReplayConfig) -> None:
    """Refuse a dataset of ``train.replay`` before anything else is made.

    Parameters
    ----------
    config
        Section ``train``.
    options
        Its section ``replay``.

    Raises
    ------
    InputError, DatasetError
        If the file is no dataset, lacks labels that the losses need, or has an element that the start does not know in each
        structure.
    """
    dataset = _open(options)
    if not dataset.labelled:
        raise InputError(f"{options.dataset} holds no labels\n  name the dataset.h5 of a run, or of potstill convert")
    refuse_missing(dataset, kinds_of(config), WHO)
    rows = _training_rows(dataset)
    if not len(_of_elements(dataset, rows, elements_of(config.start))):
        raise InputError(_nothing(options, len(rows), unknown=len(rows)))


def _open(options: ReplayConfig) -> Dataset:
    """Open the earlier dataset.

    Raises
    ------
    InputError
        If there is none.
    """
    if not options.dataset.exists() or (options.dataset.is_dir() and not (options.dataset / "dataset.h5").exists()):
        raise InputError(
            f"train.replay.dataset: no dataset at {options.dataset}\n"
            "  name the dataset.h5 of a run or of potstill convert; one that was moved must be back until the training ends"
        )
    return open_file(options.dataset)


def _training_rows(dataset: Dataset) -> Array:
    """Return the rows that may be trained on: all of them in a file without a split, as potstill convert writes it."""
    return np.arange(len(dataset)) if dataset.splits is None else dataset.split("train")


def _of_elements(dataset: Dataset, rows: Array, known: Sequence[int]) -> Array:
    """Return those of some rows that have no other elements than these."""
    return rows[np.array([bool(np.isin(z, known).all()) for z in numbers_of(dataset, rows)], dtype=bool)]


def _nothing(options: ReplayConfig, count: int, *, unknown: int) -> str:
    """Return why none of the training structures of the earlier dataset can be replayed, and the next step."""
    judged = count - unknown
    reasons = [
        f"{unknown:,} have an element that train.start does not know" if unknown else "",
        f"{judged:,} are held out from the training, or have a composition that is" if judged else "",
    ]
    return (
        f"train.replay: none of the {count:,} training structures of {options.dataset} can be replayed: "
        f"{' and '.join(filter(None, reasons))}\n  remove train.replay, or name a dataset of other compositions"
    )


def replayed_rows(options: ReplayConfig, new: Dataset, start: StudentArchitecture) -> Array:
    """Return the rows of the earlier dataset that may be replayed.

    They are training structures of elements that the start knows. The student is judged on held-out structures of the new
    data, so none is one of those, and none has a composition that is held out as a whole.

    Raises
    ------
    InputError
        If there are none.
    """
    dataset = _open(options)
    judged = [*new.split("valid"), *new.split("test")]
    held_out, trained = _formulas(new, judged), set(_formulas(new, new.split("train")))
    same = {_geometry(new[int(row)]) for row, formula in zip(judged, held_out, strict=True) if formula in trained}
    rows, apart = _training_rows(dataset), set(held_out)
    predictable = _of_elements(dataset, rows, start.atomic_numbers)
    formulas = _formulas(dataset, predictable)
    kept = [
        row
        for row, formula in zip(predictable.tolist(), formulas, strict=True)
        if formula not in apart or (formula in trained and _geometry(dataset[row]) not in same)
    ]
    if not kept:
        raise InputError(_nothing(options, len(rows), unknown=len(rows) - len(predictable)))
    return np.array(kept)


def held_out_of(replay: Replay, student: StudentArchitecture) -> Shifted | None:
    """Return held-out structures of the earlier dataset that a student can predict, with energies of the new zero.

    There are none where the dataset holds none out.
    """
    if replay.dataset.splits is None:
        return None
    kept = _of_elements(replay.dataset, replay.dataset.split("test"), student.atomic_numbers)
    some = kept[:: max(1, len(kept) // TESTED)][:TESTED]
    return Shifted(Selection(replay.dataset, some), replay.shift) if len(some) else None


def same_teacher(first: Dataset, second: Dataset) -> bool:
    """Return whether one teacher labelled both datasets; labels from files may be of any."""
    return not labels_given(first.attributes) and taught_by({"teacher": _teacher(first)}, second)


def taught_by(facts: Mapping[str, Any], dataset: Dataset) -> bool:
    """Return whether the teacher that a student's ``config.json`` states labelled a dataset; that of files may be any."""
    recorded = _teacher(dataset)
    return bool(recorded) and not labels_given(dataset.attributes) and not is_other(facts.get("teacher") or {}, recorded)


def _teacher(dataset: Dataset) -> dict[str, str]:
    found: dict[str, str] = json.loads(dataset.attributes.get("teacher") or "{}")
    return found


def zero_of_earlier(before: Student, facts: Mapping[str, Any], dataset: Dataset) -> Array:
    """Return the (119,) shift in eV from the zero of a student to that of earlier data, by atomic number.

    Parameters
    ----------
    before, facts
        Student that a training goes on from, and its ``config.json``.
    dataset
        Earlier data.
    """
    if taught_by(facts, dataset):
        return np.zeros(MAX_ATOMIC_NUMBER + 1)
    kept = _of_elements(dataset, _training_rows(dataset), before.architecture.atomic_numbers)
    return zero_of(before, Selection(dataset, kept)).shift


def replay_of(config: TrainConfig, new: Dataset, start: Student, *, seed: int) -> Replay | None:
    """Return the replay of a training; None where the config has none.

    Energies of the earlier structures get the zero of ``start``, unless one teacher labelled both datasets.

    Parameters
    ----------
    config
        Section ``train``.
    new
        Dataset that is trained on.
    start
        Student that the training goes on from, with the zero of the new data.
    seed
        Seed of the choice of structures, where the earlier dataset has more than are drawn from.
    """
    if config.replay is None:
        return None
    original, facts = read_student(student_folder(config.start))
    rows, dataset = replayed_rows(config.replay, new, original.architecture), open_file(config.replay.dataset)
    wanted = math.ceil(config.replay.for_each_new * len(new.split("train")))
    if wanted > len(rows):
        share = len(rows) / (len(rows) + len(new.split("train")))
        log.warning(
            "train.replay: only %d earlier structures can be replayed, so their share of an epoch is %.2g instead of %.2g",
            *(len(rows), share, config.replay.share),
        )
    most = max(LEAST_POOL, wanted)
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    shift = np.zeros(MAX_ATOMIC_NUMBER + 1)
    if not same_teacher(new, dataset):
        shift = _between(original, start, zero_of_earlier(original, facts, dataset))
        log.info("train.replay: %s", _said(shift))
    records = Shifted(Selection(dataset, rows), shift)
    return Replay(dataset, records, shift, dataset.sources[rows], min(wanted, len(rows)), config.replay.share)


def _between(original: Student, start: Student, earlier: Array) -> Array:
    """Return the (119,) eV from the zero of earlier data to that of ``start``; 0 for elements that one does not know."""
    shift = np.zeros(MAX_ATOMIC_NUMBER + 1)
    energies = [
        dict(zip(student.architecture.atomic_numbers, student.reference_energies.tolist(), strict=True))
        for student in (original, start)
    ]
    for z in energies[0].keys() & energies[1].keys():
        shift[z] = energies[1][z] - energies[0][z] - earlier[z]
    return np.where(np.abs(shift) < ROUNDING, 0.0, shift)


def _said(shift: Array) -> str:
    """Return in one clause how the zero of the earlier energies differs from that of the new ones."""
    moved = np.flatnonzero(shift)
    if not len(moved):
        return "the earlier energies have the zero of the new ones"
    each = ", ".join(f"{symbol} {shift[z]:+.3f}" for symbol, z in zip(symbols_of(moved), moved, strict=True))
    return f"the earlier energies get the zero of the new ones, eV for each atom: {each}"


def _formulas(dataset: Dataset, rows: Sequence[int] | Array) -> list[str]:
    return [hill_formula(z, reduced=True) for z in numbers_of(dataset, rows)]


def _geometry(structure: Structure) -> bytes:
    """Return the elements and the geometry of a structure to a thousandth of an ångström."""
    rounded = (np.round(array, DECIMALS) + 0.0 for array in (structure.positions, structure.cell))  # no negative zero
    return b"".join(array.tobytes() for array in (structure.atomic_numbers, *rounded))


def numbers_of(dataset: Dataset, rows: Sequence[int] | Array) -> list[Array]:
    """Return the atomic numbers of each of some structures."""
    numbers, ptr = dataset.column("atoms/atomic_numbers"), dataset.ptr
    return [numbers[ptr[row] : ptr[row + 1]] for row in rows]
