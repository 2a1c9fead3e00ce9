"""The start of a fine-tuning: a trained student and the new training data in, the student to go on from out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from potstill.core.types import Array
from potstill.dataset import Dataset, RecordSource, open_file
from potstill.stats.references import compositions
from potstill.student.adapt import align_reference_energies, for_elements
from potstill.student.files import read_student
from potstill.student.fused import FusedKernel, kernel_of
from potstill.student.model import Student
from potstill.student.shipped import student_folder
from potstill.train.data import LabelledStructures
from potstill.train.options import TrainConfig
from potstill.train.replay import numbers_of, replayed_rows, same_teacher

AT_ONCE = 32
FEW, OF_EACH = 2000, 100  # structures: all of a few, or as many with each element


def start_of(config: TrainConfig, dataset: Dataset) -> Student | None:
    """Return the student that a training on a dataset goes on from; None for random weights.

    With ``train.replay`` it keeps the elements of the earlier structures, and its reference energies too where the same
    teacher labelled both.

    Raises
    ------
    InputError
        If there is no such student, or nothing can be replayed.
    """
    if not config.start:
        return None
    training = dataset.select("train")
    if config.replay is None:
        return starting_student(config.start, training)
    before, earlier = read_student(student_folder(config.start))[0], open_file(config.replay.dataset)
    rows = replayed_rows(config.replay, dataset, before.architecture)
    also = np.unique(np.concatenate(numbers_of(earlier, rows))).tolist()
    return starting_student(config.start, training, also=also, align=not same_teacher(dataset, earlier))


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
    present, counts, energy = compositions(training)
    elements = sorted({*present, *also})
    student = for_elements(read_student(student_folder(name))[0], elements)
    if not align:
        return student
    amounts = np.zeros((len(counts), len(elements)))
    amounts[:, np.searchsorted(elements, present)] = counts
    some = _enough_of_each(amounts)
    align_reference_energies(student, amounts[some], energy[some], predicted_energies(student, training.gather(some)))
    return student


def _enough_of_each(amounts: Array) -> Array:
    """Return the rows of (S, elements) amounts in which each element is often enough for its reference energy."""
    if len(amounts) <= FEW:
        return np.arange(len(amounts))
    order = np.random.default_rng(0).permutation(len(amounts))
    return np.unique(np.concatenate([order[np.flatnonzero(column)[:OF_EACH]] for column in amounts[order].T]))


def predicted_energies(student: Student, records: RecordSource) -> Array:
    """Return the (S,) total energies in eV that a student predicts."""
    data, kernel = LabelledStructures(records, student.architecture.cutoff_angstrom), kernel_of(student, "auto", FusedKernel)
    batches = (np.arange(k, min(k + AT_ONCE, len(data))) for k in range(0, len(data), AT_ONCE))
    return np.concatenate([student.predict(data[batch].inputs, kernel=kernel).energy.numpy() for batch in batches])
