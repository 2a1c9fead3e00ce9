"""Interface of the executors: a function and independent tasks in, their results out.

A task seals its own file and returns a small result, so an executor stores nothing. A task whose file is sealed is done. Any
other task is repeated, by the same or another executor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from potstill.execute.local import Lost, available_cores, run_tasks, try_again


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
    """

    def __init__(self, workers: int = 0) -> None:
        self.workers = workers or available_cores()

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
        run_tasks(function, tasks, workers=workers, on_done=on_done, on_lost=on_lost, isolated=isolated)

    def close(self) -> None:
        """Do nothing: no process is kept between runs."""
