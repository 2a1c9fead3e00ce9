"""Tasks on the cores of this machine.

The input is a picklable function and a sequence of tasks, each of which writes its own file and returns a small result. Each
result is passed to ``on_done`` as soon as it arrives. A worker that dies or hangs loses its current task only. ``on_lost``
returns the tasks that replace it.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any, Generic, TypeVar

from potstill.core.errors import PotstillError
from potstill.execute.worker import Worker

log = logging.getLogger(__name__)
T = TypeVar("T")
R = TypeVar("R")

MAX_LOSSES = 3  # losses of one task before the run ends


@dataclass(frozen=True, slots=True)
class Lost(Generic[T]):
    """A task whose worker ended without an answer.

    Parameters
    ----------
    task
        Task that was lost.
    times
        Number of times that this task was lost.
    doing
        Activity that the worker reported last.
    timed_out
        Whether it was killed because it missed its deadline.
    why
        End of the worker in words, for messages.
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
    """Return the same task once more; raise after three losses.

    Raises
    ------
    PotstillError
        After the third loss.
    """
    if lost.times >= MAX_LOSSES:
        killed = "killed" in lost.why  # as Linux does where memory is short
        what = "run again with --resume and fewer workers" if killed else "see the output above, and run again with --resume"
        raise PotstillError(
            f"worker processes died {lost.times} times over one task ({lost.why}{'; out of memory?' if killed else ''}).\n"
            f"  {what}: finished work is kept"
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
    kept: list[Worker] | None = None,
) -> None:
    """Run ``function`` on every task, in any order.

    Parameters
    ----------
    function
        Module-level function; called as ``function(task)`` in a worker with one thread.
    tasks
        Tasks independent of each other; a task that runs twice must write the same file.
    workers
        Number of processes; with 1 the tasks run in order, and in this process unless ``isolated``.
    on_done
        Function called in this process with each task and its result as soon as it arrives.
    on_lost
        Function called in this process with each lost task; it returns the tasks that replace it, before others.
    isolated
        Whether the tasks run outside this process, because they may end it.
    kept
        Workers of earlier calls, which are used first. Those of this call are left there, idle; none after an error.

    Raises
    ------
    PotstillError
        If workers keep dying over one task (usually for lack of memory).
    """
    if not isolated and (workers <= 1 or len(tasks) <= 1):
        for task in tasks:
            on_done(task, function(task))
        return
    jobs = deque(_Job(task) for task in tasks)
    idle: list[Worker] = [] if kept is None else kept
    busy: dict[Worker, _Job[T]] = {}
    try:
        while jobs or busy:
            _hand_out(function, jobs, idle, busy, workers)
            _wait(busy)
            _take_in(jobs, idle, busy, on_done, on_lost)
    except BaseException:
        for worker in [*busy, *idle]:
            worker.kill()
        idle.clear()
        raise
    if kept is None:
        for worker in idle:
            worker.dismiss()


@dataclass(slots=True)
class _Job(Generic[T]):
    task: T
    losses: int = 0


def _hand_out(
    function: Callable[[T], R], jobs: deque[_Job[T]], idle: list[Worker], busy: dict[Worker, _Job[T]], workers: int
) -> None:
    """Give tasks to workers, idle ones first, as long as there are fewer busy ones than allowed."""
    while jobs and len(busy) < max(workers, 1):
        worker = _idle_one(idle) or Worker(_free_number([*busy, *idle]))
        busy[worker] = jobs.popleft()
        worker.give(function, busy[worker].task)


def _take_in(
    jobs: deque[_Job[T]],
    idle: list[Worker],
    busy: dict[Worker, _Job[T]],
    on_done: Callable[[T, Any], None],
    on_lost: Callable[[Lost[T]], Sequence[T]],
) -> None:
    """Take the results that have arrived; kill workers that are lost, and queue the tasks that replace theirs."""
    for worker, job in list(busy.items()):
        if (result := worker.result()) is not None:
            del busy[worker]
            idle.append(worker)
            on_done(job.task, result[0])
        elif (lost := _lost(worker, job)) is not None:
            worker.kill()
            del busy[worker]
            jobs.extendleft(job if task is lost.task else _Job(task) for task in reversed(on_lost(lost)))


def _idle_one(idle: list[Worker]) -> Worker | None:
    """Return an idle worker, and remove it and those that have ended."""
    while idle:
        worker = idle.pop()
        if worker.alive:
            return worker
        worker.kill()
    return None


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
