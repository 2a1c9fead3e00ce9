"""One task in a worker of a cluster: the function and the task in, its result or loss out.

The task runs in a process of its own beside Parsl's. That process is kept for later tasks. A teacher that hangs or ends its
process is therefore noticed on the node, as by the local executor, and Parsl's worker continues.
"""

from __future__ import annotations

import os
import pickle
import time
from dataclasses import dataclass
from multiprocessing import util
from multiprocessing.connection import wait
from typing import Any

from potstill.execute.worker import Worker, portable, stay_with

_hand: list[Worker] = []  # at most one: the process that runs the tasks


@dataclass(frozen=True, slots=True)
class Answer:
    """End of a task: a result, an exception, or (``why`` is set) the end of the process that worked on it."""

    result: Any = None
    error: Exception | None = None
    why: str = ""
    doing: str = ""
    timed_out: bool = False


def perform(work: bytes) -> Answer:
    """Do one task; ``work`` is a pickled function and its task."""
    function, task = pickle.loads(work)  # noqa: S301 - from the driver, on its encrypted line
    worker = _worker()
    worker.give(function, task)
    while True:
        timeout = None if worker.deadline is None else max(0.0, worker.deadline - time.monotonic())
        wait([worker.line, worker.sentinel], timeout)
        try:
            if (result := worker.result()) is not None:
                return Answer(result[0])
        except Exception as error:  # noqa: BLE001 - the driver raises it
            return Answer(error=portable(error))
        if (lost := worker.lost()) is not None:
            why, timed_out = lost
            _let_go()
            return Answer(why=why, doing=worker.doing, timed_out=timed_out)


def _worker() -> Worker:
    """Return the process of the present and later tasks, started at the first one and after one that ended."""
    if not _hand:
        stay_with(os.getppid())
        util.Finalize(None, _let_go, exitpriority=10)
    elif not _hand[0].alive:
        _let_go()
    if not _hand:
        _hand.append(Worker(int(os.environ.get("PARSL_WORKER_RANK", "0"))))
    return _hand[0]


def _let_go() -> None:
    while _hand:
        _hand.pop().kill()
