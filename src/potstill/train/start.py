"""The start of a fine-tuning: a trained student and the new training data in, the student to go on from out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from potstill.dataset import Dataset, RecordSource, Selection, open_file
from potstill.stats.references import compositions
from potstill.student.adapt import for_elements, shift_reference_energies
from potstill.student.files import read_student
from potstill.student.model import Student
from potstill.student.shipped import student_folder
from potstill.train.options import ReplayConfig, TrainConfig
from potstill.train.replay import Joined, numbers_of, replayed_rows, same_teacher, taught_by, zero_of_earlier
from potstill.train.zero import zero_beside, zero_of


def start_of(config: TrainConfig, dataset: Dataset) -> Student | None:
    """Return the student that a training on a dataset goes on from; None for random weights.

    With ``train.replay`` it keeps the elements of the earlier structures.

    Raises
    ------
    InputError
        If there is no such student, or nothing can be replayed.
    """
    if not config.start:
        return None
    if config.replay is None:
        return starting_student(config.start, dataset.select("train"))
    return _with_replay(config.start, config.replay, dataset)


def starting_student(name: str, training: RecordSource, *, also: Sequence[int] = (), align: bool = True) -> Student:
    """Return a trained student for the elements and the energies of other data.

    Reference energies are shifted to those of the data, since labels of another teacher or of DFT have another zero.

    Parameters
    ----------
    name
        Name or folder of the student.
    training
        Records that the training uses.
    also
        Further elements that it keeps.
    align
        Whether reference energies are shifted.

    Raises
    ------
    InputError
        If there is no such student.
    """
    student = for_elements(read_student(student_folder(name))[0], _elements(training, also))
    if align:
        shift_reference_energies(student, zero_of(student, training).shift)
    return student


def _with_replay(name: str, options: ReplayConfig, new: Dataset) -> Student:
    """Return a student for the elements and the zero of the new data, and for the earlier ones that are replayed.

    An element that only the earlier data have gets their zero.
    """
    before, facts = read_student(student_folder(name))
    file, training = open_file(options.dataset), new.select("train")
    rows = replayed_rows(options, new, before.architecture)
    earlier, known = Selection(file, rows), np.unique(np.concatenate(numbers_of(file, rows))).tolist()
    student = for_elements(before, _elements(training, known))
    if same_teacher(new, file):
        unknown = set(student.architecture.atomic_numbers) - set(before.architecture.atomic_numbers)
        fitted = unknown if taught_by(facts, file) else None
        if fitted is None or fitted:
            shift_reference_energies(student, zero_of(student, Joined(training, earlier), fitted=fitted).shift)
        return student
    shift_reference_energies(student, zero_of_earlier(before, facts, file))
    shift_reference_energies(student, zero_beside(student, training, earlier, known).shift)
    return student


def _elements(training: RecordSource, also: Sequence[int]) -> list[int]:
    return sorted({*compositions(training)[0], *also})
