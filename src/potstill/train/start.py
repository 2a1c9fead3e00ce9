"""The start of a fine-tuning: a trained student and the new training data in, the student to go on from out."""

from __future__ import annotations

import numpy as np

from potstill.core.types import Array
from potstill.dataset import RecordSource
from potstill.stats.references import compositions
from potstill.student.adapt import align_reference_energies, for_elements
from potstill.student.files import read_student
from potstill.student.fused import FusedKernel, kernel_of
from potstill.student.model import Student
from potstill.student.shipped import student_folder
from potstill.train.data import LabelledStructures

AT_ONCE = 32
FEW, OF_EACH = 2000, 100  # structures: all of a few, or as many with each element


def starting_student(name: str, training: RecordSource) -> Student:
    """Return a trained student for the elements and the energies of other data.

    Reference energies are shifted to those of the data, since labels of another teacher or of DFT have another zero.

    Parameters
    ----------
    name
        Name or folder of the student.
    training
        Records that the training uses.

    Raises
    ------
    InputError
        If there is no such student.
    """
    elements, amounts, energy = compositions(training)
    student = for_elements(read_student(student_folder(name))[0], elements)
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
