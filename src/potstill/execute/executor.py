"""Interface of the executors: a function and independent tasks in, their results out.

A task seals its own file and returns a small result, so an executor stores nothing. A task whose file is sealed is done. Any
other task is repeated, by the same or another executor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from multiprocessing import util
from typing import Any, Protocol

import psutil

from potstill.execute.local import Lost, available_cores, run_tasks, try_again
from potstill.execute.worker import Worker

LARGEST_SHARE = 0.25  # of the free memory that idle workers may hold


class Executor(Protocol):
    """Runs tasks."""

    @property
    def workers(self) -> int:
        """Return the largest number of tasks that run at the same time."""
        ...

    def run(
        self,
        function: Callable[[Any], Any],
        tasks: Sequence[Any],
        *,
        on_done: Callable[[Any, Any], None],
        on_lost: Callable[[Lost[Any]], Sequence[Any]] = try_again,
        isolated: bool = False,
        at_most: int | None = None,
    ) -> None:
        """Run ``function`` on every task, as :func:`potstill.execute.run_tasks` does; ``at_most`` limits the workers."""
        ...

    def close(self) -> None:
        """End every process that was started; nothing may run afterwards."""
        ...


class LocalExecutor:
    """The cores of this machine; with one worker this process itself.

    Parameters
    ----------
    workers
        Number of processes; 0 means every core.
    keep
        Whether processes of isolated tasks stay for later ones until :meth:`close`, with the teacher that they have opened.
        Those that hold a GPU, or together a quarter of the free memory, do not.
    """

    def __init__(self, workers: int = 0, *, keep: bool = False) -> None:
        self.workers = workers or available_cores()
        self._kept: list[Worker] | None = [] if keep else None
        if self._kept is not None:  # also at the exit of this process, which would wait for them
            util.Finalize(self, _dismiss, args=(self._kept,), exitpriority=10)

    def run(
        self,
        function: Callable[[Any], Any],
        tasks: Sequence[Any],
        *,
        on_done: Callable[[Any, Any], None],
        on_lost: Callable[[Lost[Any]], Sequence[Any]] = try_again,
        isolated: bool = False,
        at_most: int | None = None,
    ) -> None:
        """Run ``function`` on every task; see :class:`Executor`."""
        workers = min(self.workers, at_most or self.workers)
        kept = self._kept if isolated else None
        run_tasks(function, tasks, workers=workers, on_done=on_done, on_lost=on_lost, isolated=isolated, kept=kept)
        if kept and not _harmless(kept):
            self.close()

    def close(self) -> None:
        """End the processes that were kept."""
        _dismiss(self._kept or [])


def _dismiss(workers: list[Worker]) -> None:
    while workers:
        workers.pop().dismiss()


def _harmless(workers: Sequence[Worker]) -> bool:
    """Return whether idle workers hold no GPU and little of the memory that others may need."""
    sizes = [worker.memory_bytes for worker in workers]
    if any(size is None for size in sizes) or any(worker.on_gpu for worker in workers):
        return False
    return sum(size or 0 for size in sizes) <= LARGEST_SHARE * psutil.virtual_memory().available
