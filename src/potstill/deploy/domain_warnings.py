"""What lies far outside the training data is said in the log while a student is asked again and again.

Enter the structures that it is asked, leave warnings of the log ``potstill``, each pair of elements once.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from potstill.core.neighbors import Neighbors
from potstill.core.types import Structure

if TYPE_CHECKING:
    from potstill.deploy.student import DeployedStudent

log = logging.getLogger(__name__)
LOOK_EVERY = 100  # calls; a look costs about as much as a small molecule's forces


class Watch:
    """Looks at the first structure, at every hundredth, and at those that are said to be new.

    Parameters
    ----------
    student
        That is asked.
    """

    def __init__(self, student: DeployedStudent) -> None:
        self.student = student
        self._calls = 0
        self._warned: set[str] = set()

    def __call__(self, structure: Structure, neighbors: Neighbors | None, *, new: bool = False) -> None:
        """Look or not; the neighbours are those within the student's cutoff, searched for where None."""
        if new or self._calls % LOOK_EVERY == 0:
            for reason in self.student.foreign(structure, neighbors):
                kind = reason.split(" ", 1)[0]  # the pair, not its distance now
                if kind not in self._warned:
                    self._warned.add(kind)
                    log.warning("far outside what the student was trained on: %s", reason)
        self._calls += 1
