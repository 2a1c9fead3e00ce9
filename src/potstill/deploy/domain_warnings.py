"""Warnings about structures far outside the training data, during repeated calls of a student.

Takes the structures of the calls and writes warnings to the log ``potstill``: once per pair of elements, and once about
expected errors.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

import numpy as np

from potstill.core.neighbors import Neighbors
from potstill.core.types import Array, Structure

if TYPE_CHECKING:
    from potstill.deploy.student import DeployedStudent

log = logging.getLogger(__name__)
NUMBER = re.compile(r"[\d.]+")
FAR_ANGSTROM = 0.5  # of an atom or a cell vector between two calls: no step of MD or of a relaxation is so long
LOOK_EVERY = 100  # number of calls; a check costs about as much as a small molecule's forces


class Watch:
    """Checks the first structure, every hundredth, and those that the caller marks as new.

    Parameters
    ----------
    student
        Student that is called.
    """

    def __init__(self, student: DeployedStudent) -> None:
        self.student = student
        self._calls = 0
        self._warned: set[str] = set()

    @property
    def due(self) -> bool:
        """Return whether the next structure is one of those that are checked in any case."""
        return self._calls % LOOK_EVERY == 0

    @property
    def wants_errors(self) -> bool:
        """Return whether the expected errors of the next structure are to be computed for the check."""
        return self.due and self.student.uncertainty is not None

    def __call__(
        self, structure: Structure, neighbors: Neighbors | None, expected: Array | None = None, *, new: bool = False
    ) -> None:
        """Check a structure if its turn has come.

        Parameters
        ----------
        structure
            Structure of this call.
        neighbors
            Its neighbor list within the student's cutoff; made here where None.
        expected
            (n,) expected errors of its forces in eV/Å; not checked where None.
        new
            Whether it is no next step of the structure before.
        """
        if new or self.due:
            reasons = self.student.outside_domain(structure, neighbors)
            if expected is not None:
                reasons += self.student.beyond_threshold(expected)
            for reason in reasons:
                kind = NUMBER.sub("", reason)  # the pair without its distance
                if kind not in self._warned:
                    self._warned.add(kind)
                    log.warning("far outside the student's training data: %s", reason)
        self._calls += 1


def differs(before: Structure, after: Structure) -> bool:
    """Return whether a structure is another one than that of the call before: atoms, axes, or a place far away.

    Atoms that were wrapped into the cell count as other ones, which costs one check.
    """
    if not np.array_equal(before.atomic_numbers, after.atomic_numbers) or not np.array_equal(before.pbc, after.pbc):
        return True
    pairs = ((before.cell, after.cell), (before.positions, after.positions))
    return any(float(np.abs(x - y).max(initial=0.0)) > FAR_ANGSTROM for x, y in pairs)
