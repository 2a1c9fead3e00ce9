"""The zero of energies: labels and a student in, the shift of its reference energies out.

Labels of another teacher, or of another code, have another energy for each atom of an element. A student is fitted to the
labels of new data, and to those of earlier data that are replayed, so three zeros meet.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from potstill.core.types import MAX_ATOMIC_NUMBER, Array
from potstill.dataset import RecordSource
from potstill.stats.references import compositions, fit_reference_energies
from potstill.student.fused import FusedKernel, kernel_of
from potstill.student.model import Student
from potstill.train.data import LabelledStructures

AT_ONCE = 32
FEW, OF_EACH = 2000, 100  # structures: all of a few, or as many with each element
APART = 3.0  # times the student's own error, beyond which two zeros differ
LEAST_ERROR = 0.05  # eV/atom


@dataclass(frozen=True, slots=True, eq=False)
class Zero:
    """Zero of labels relative to that of a student.

    Parameters
    ----------
    shift
        (119,) eV to add to the student's reference energies, by atomic number; 0 where it is not fitted.
    error
        Root mean square in eV/atom of the energy errors that the shift leaves.
    """

    shift: Array
    error: float


def zero_of(student: Student, source: RecordSource, *, fitted: Collection[int] | None = None) -> Zero:
    """Return the zero of labels, by least squares of the energy per atom.

    Parameters
    ----------
    student
        Student that knows all elements of the records.
    source
        Labelled records; some of many are taken.
    fitted
        Elements whose reference energy may shift; all of them where None.
    """
    return _fitted(*_gaps(student, source), fitted)


def zero_beside(student: Student, new: RecordSource, earlier: RecordSource, known: Collection[int]) -> Zero:
    """Return the zero of new labels relative to a student that has that of earlier ones.

    Where the zero of the earlier labels leaves errors of the new ones that are within a few of the student's own, both have
    one zero. Then only elements that the earlier data lack are fitted.

    Parameters
    ----------
    student
        Student with the zero of the earlier labels.
    new, earlier
        Labelled records.
    known
        Elements of the earlier data.
    """
    own = zero_of(student, earlier, fitted=()).error
    gaps = _gaps(student, new)
    same, other = _fitted(*gaps, set(gaps[0]) - set(known)), _fitted(*gaps, None)
    return same if same.error <= APART * max(own, other.error, LEAST_ERROR) else other


def _gaps(student: Student, source: RecordSource) -> tuple[list[int], Array, Array]:
    """Return the elements of some records, their (S, Z) atom counts, and (S,) eV of the labels above the predictions."""
    present, amounts, energy = compositions(source)
    some = _enough_of_each(amounts)
    return present, amounts[some], energy[some] - predicted_energies(student, source.gather(some))


def _fitted(present: list[int], amounts: Array, gap: Array, fitted: Collection[int] | None) -> Zero:
    atoms = amounts.sum(axis=1)
    if fitted is not None:
        amounts = amounts * np.isin(present, list(fitted))
    found = fit_reference_energies(amounts, gap, atoms=atoms)
    shift = np.zeros(MAX_ATOMIC_NUMBER + 1)
    shift[present] = found
    return Zero(shift, float(np.sqrt(np.mean(((gap - amounts @ found) / atoms) ** 2))))


def predicted_energies(student: Student, records: RecordSource) -> Array:
    """Return the (S,) total energies in eV that a student predicts."""
    data, kernel = LabelledStructures(records, student.architecture.cutoff_angstrom), kernel_of(student, "auto", FusedKernel)
    device = student.embedding.weight.device
    batches = (np.arange(k, min(k + AT_ONCE, len(data))) for k in range(0, len(data), AT_ONCE))
    found = [student.predict(data[batch].to(device).inputs, kernel=kernel).energy.cpu().numpy() for batch in batches]
    return np.concatenate(found)


def _enough_of_each(amounts: Array) -> Array:
    """Return the rows of (S, elements) amounts in which each element is often enough for its reference energy."""
    if len(amounts) <= FEW:
        return np.arange(len(amounts))
    order = np.random.default_rng(0).permutation(len(amounts))
    return np.unique(np.concatenate([order[np.flatnonzero(column)[:OF_EACH]] for column in amounts[order].T]))
