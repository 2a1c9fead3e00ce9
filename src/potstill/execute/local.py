"""Tasks on the cores of this machine.

The input is a picklable function and a sequence of tasks, each of which writes its own file and returns a small result.
Each result goes to ``on_done`` as soon as it arrives. A worker that dies or hangs loses its current task and no other;
``on_lost`` decides what is done in its place.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Generic, TypeVar

from potstill.core.errors import PotstillError
from potstill.execute.worker import Worker

log = logging.getLogger(__name__)
T = TypeVar("T")
R = TypeVar("R")

MAX_LOSSES = 3  # of one task, before it is given up


@dataclass(frozen=True, slots=True)
class Lost(Generic[T]):
    """A task whose worker ended without an answer.

    Parameters
    ----------
    task
        What was lost.
    times
        How often this task was lost by now.
    doing
        What the worker had said that it does.
    timed_out
        Whether it was killed because it had promised to speak earlier.
    why
        How the worker ended, for messages.
    """

    task: T
    times: int
    doing: str
    timed_out: bool
    why: str


def available_cores() -> int:
    """Return the number of cores this process may use (respects CPU affinity, as SLURM and containers set it)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def try_again(lost: Lost[T]) -> Sequence[T]:
    """Return the same task once more, until it was lost three times.

    Raises
    ------
    PotstillError
        Then.
    """
    if lost.times >= MAX_LOSSES:
        raise PotstillError(
            f"worker processes died {lost.times} times over one task ({lost.why}; out of memory?).\n"
            "  run again with --resume and fewer workers: finished work is kept"
        )
    log.warning("a worker process ended (%s) while %s; its task is done again", lost.why, lost.doing)
    return [lost.task]


def run_tasks(
    function: Callable[[T], R],
    tasks: Sequence[T],
    *,
    workers: int,
    on_done: Callable[[T, R], None],
    on_lost: Callable[[Lost[T]], Sequence[T]] = try_again,
    isolated: bool = False,
) -> None:
    """Run ``function`` on every task, in any order.

    Parameters
    ----------
    function
        Module-level function; called as ``function(task)`` in a worker with one thread.
    tasks
        Independent of each other; a task that is run twice must give the same file.
    workers
        Processes to use; with 1 the tasks run in order, and in this process unless they are to be isolated.
    on_done
        Called in this process with each task and its result as soon as it is there.
    on_lost
        Called in this process with each task that was lost; gives the tasks that are to be done in its place, before others.
    isolated
        Keep the tasks out of this process, because they may end it.

    Raises
    ------
    PotstillError
        If workers keep dying over one task (out of memory, usually).
    """
    if not isolated and (workers <= 1 or len(tasks) <= 1):
        for task in tasks:
            on_done(task, function(task))
        return
    jobs = deque(_Job(task) for task in tasks)
    idle: list[Worker] = []
    busy: dict[Worker, _Job[T]] = {}
    try:
        while jobs or busy:
            while jobs and len(busy) < max(workers, 1):
                worker = idle.pop() if idle else Worker(function, _free_number(busy))
                busy[worker] = jobs.popleft()
                worker.give(busy[worker].task)
            _wait(busy)
            for worker, job in list(busy.items()):
                if (result := worker.result()) is not None:
                    del busy[worker]
                    idle.append(worker)
                    on_done(job.task, result[0])
                elif (lost := _lost(worker, job)) is not None:
                    worker.kill()
                    del busy[worker]
                    jobs.extendleft(job if task is lost.task else _Job(task) for task in reversed(on_lost(lost)))
        for worker in idle:
            worker.dismiss()
    finally:
        for worker in [*busy, *idle]:
            worker.kill()


@dataclass(slots=True)
class _Job(Generic[T]):
    task: T
    losses: int = 0


def _free_number(busy: Iterable[Worker]) -> int:
    taken = {worker.number for worker in busy}
    return min(set(range(len(taken) + 1)) - taken)


def _wait(busy: dict[Worker, _Job[T]]) -> None:
    """Wait until a worker sends a message, ends, or misses its deadline."""
    deadlines = [worker.deadline for worker in busy if worker.deadline is not None]
    timeout = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
    wait([thing for worker in busy for thing in (worker.line, worker.sentinel)], timeout)


def _lost(worker: Worker, job: _Job[T]) -> Lost[T] | None:
    """Return the task of a worker that has ended or is late, after all its messages were read; else None."""
    lost = worker.lost()
    if lost is None:
        return None
    job.losses += 1
    why, timed_out = lost
    return Lost(job.task, job.losses, worker.doing, timed_out, why)
