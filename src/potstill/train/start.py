"""The start of a fine-tuning: a trained student and the new training data in, the student to go on from out."""

from __future__ import annotations

import numpy as np

from potstill.core.types import Array
from potstill.dataset import RecordSource
from potstill.stats.references import compositions
from potstill.student.adapt import align_reference_energies, for_elements
from potstill.student.files import read_student
from potstill.student.model import Student
from potstill.student.shipped import student_folder
from potstill.train.data import LabelledStructures

AT_ONCE = 32


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
    align_reference_energies(student, amounts, energy, predicted_energies(student, training))
    return student


def predicted_energies(student: Student, records: RecordSource) -> Array:
    """Return the (S,) total energies in eV that a student predicts."""
    data = LabelledStructures(records, student.architecture.cutoff_angstrom)
    batches = (np.arange(k, min(k + AT_ONCE, len(data))) for k in range(0, len(data), AT_ONCE))
    return np.concatenate([student.predict(data[batch].inputs).energy.numpy() for batch in batches])
