"""Tasks on the cores of this machine.

Enters: a picklable function and a sequence of tasks, each of which writes its own file and returns a small result.
Leaves: the results, handed to ``on_done`` as they come. A worker that dies costs its task one more try, no more.
"""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from potstill.errors import PotstillError

log = logging.getLogger(__name__)
T = TypeVar("T")
R = TypeVar("R")

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
WORKER_VARIABLE = "POTSTILL_WORKER"  # number of a worker process, from 0
MAX_POOL_FAILURES = 3


def available_cores() -> int:
    """Cores this process may use (respects CPU affinity, as SLURM and containers set it)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_tasks(
    function: Callable[[T], R],
    tasks: Sequence[T],
    *,
    workers: int,
    on_done: Callable[[T, R], None],
) -> None:
    """Run ``function`` on every task, in any order.

    Parameters
    ----------
    function
        Module-level function; called as ``function(task)`` in a worker with one thread.
    tasks
        Independent of each other; a task that is run twice must give the same file.
    workers
        Processes to use; with 1 the tasks run in this process, in order.
    on_done
        Called in this process with each task and its result as soon as it is there.

    Raises
    ------
    PotstillError
        If workers keep dying (out of memory, usually).
    """
    if workers <= 1 or len(tasks) <= 1:
        for task in tasks:
            on_done(task, function(task))
        return
    pending = dict(enumerate(tasks))
    failures = 0
    while pending:
        try:
            _run_pool(function, pending, workers, on_done)
        except BrokenProcessPool as error:
            failures += 1
            log.warning("a worker process died; %d tasks remain, starting new workers", len(pending))
            if failures >= MAX_POOL_FAILURES:
                raise PotstillError(
                    f"worker processes died {failures} times (out of memory?).\n"
                    "  run again with --resume and fewer workers: finished work is kept"
                ) from error


def _run_pool(function: Callable[[T], R], pending: dict[int, T], workers: int, on_done: Callable[[T, R], None]) -> None:
    context = multiprocessing.get_context("spawn")
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    pool = ProcessPoolExecutor(
        min(workers, len(pending)), mp_context=context, initializer=_start_worker, initargs=(os.getpid(),)
    )
    futures: dict[Future[R], int] = {}
    try:
        futures = {pool.submit(function, task): key for key, task in pending.items()}
        waiting = set(futures)
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                result = future.result()
                on_done(pending.pop(futures[future]), result)
        pool.shutdown()
    except BaseException:
        processes = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:  # what a worker had not sealed will be done again
            process.terminate()
        raise
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _start_worker(parent: int) -> None:
    """One thread per worker, deaf to Ctrl-C (the parent decides), and never alive without its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    threading.Thread(target=_exit_with_parent, args=(parent,), daemon=True).start()
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _exit_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)
