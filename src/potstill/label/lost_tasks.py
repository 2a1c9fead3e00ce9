"""Replacement of tasks that were lost because the teacher ended its process, or did not answer in time.

A lost task is first repeated as it is, because another program may have killed the worker, and its labels must be the same
to the last bit. If it is lost again, or was killed because it hung, each of its structures becomes a task of its own. A
structure that is lost alone twice, or hangs alone, is refused. All others are labelled.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from potstill.core.errors import PotstillError
from potstill.core.types import Refused
from potstill.execute import Lost, try_again
from potstill.label.tasks import LabelTask, one_by_one
from potstill.teacher.batching import LABELLING

log = logging.getLogger(__name__)


class LostTasks:
    """All tasks in order, with replacements for lost ones.

    Parameters
    ----------
    planned
        Every task, in the order of the structures.
    """

    def __init__(self, planned: Sequence[LabelTask]) -> None:
        self.planned = list(planned)

    def instead(self, lost: Lost[LabelTask]) -> Sequence[LabelTask]:
        """Return the tasks that replace a lost one.

        Raises
        ------
        PotstillError
            If every process that loads the teacher ends.
        """
        task = lost.task
        if lost.doing != LABELLING:
            return _while_not_labelling(lost)
        if not lost.timed_out and lost.times < 2:
            return try_again(lost)
        if task.stop - task.start > 1:
            log.warning(
                "the process of the teacher ended with structures %d to %d (%s); each is now labelled by itself",
                task.start,
                task.stop - 1,
                lost.why,
            )
            return self._replace(task, one_by_one(task))
        reason = "teacher_timeout" if lost.timed_out else "teacher_crashed"
        detail = f"no answer within {task.timeout_seconds:g} s" if lost.timed_out else f"its process ended: {lost.why}"
        return self._replace(task, [replace(task, refuse=Refused(reason, detail))])

    def _replace(self, task: LabelTask, others: list[LabelTask]) -> list[LabelTask]:
        index = self.planned.index(task)
        self.planned[index : index + 1] = others
        return others


def _while_not_labelling(lost: Lost[LabelTask]) -> Sequence[LabelTask]:
    """Return the task once more; raise where every process that loads the teacher ends."""
    try:
        return try_again(lost)
    except PotstillError as error:
        raise PotstillError(
            f"worker processes died {lost.times} times while {lost.doing} ({lost.why}).\n"
            "  test the teacher with:  potstill doctor\n"
            "  if memory is short, run again with --resume and fewer workers: finished work is kept;\n"
            '  a script of your own must call potstill below  if __name__ == "__main__":'
        ) from error
