"""Context of the stages of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from time import monotonic

from potstill.config import Config
from potstill.core.errors import OutOfTimeError
from potstill.core.types import Teacher
from potstill.execute import Executor
from potstill.run.folder import RunFolder
from potstill.run.progress import Progress
from potstill.teacher.opening import open_teacher


@dataclass(frozen=True)
class Context:
    """A run and the objects that its stages use.

    Parameters
    ----------
    config
        Checked config.
    run
        Run folder, locked by this process.
    progress
        Display of the progress.
    executor
        Executor of the tasks of ``generate`` and ``label``.
    teacher
        Function that opens the teacher, once; None where the labels were given with the user's files.
    fallback
        Whether the contingency mix may replace a generative source that is missing or fails.
    until
        Time limit by :func:`time.monotonic`, or None.
    formats
        Formats that ``deploy`` exports; those of the config where empty.
    seconds
        Time spent on the stage so far, earlier runs included.
    """

    config: Config
    run: RunFolder
    progress: Progress
    executor: Executor
    teacher: Callable[[], Teacher] | None
    fallback: bool = False
    until: float | None = None
    formats: tuple[str, ...] = ()
    seconds: Callable[[], float] = lambda: 0.0

    @classmethod
    def start(
        cls,
        config: Config,
        run: RunFolder,
        progress: Progress,
        *,
        fallback: bool = False,
        until: float | None = None,
        formats: tuple[str, ...] = (),
    ) -> Context:
        """Start the executor of a config.

        The teacher is opened at its first use, in a supervised process, so that its end does not end the run.
        """
        if config.batches:
            (run.path / "batches").mkdir(exist_ok=True)
        executor = config.execute.start(run.path / "execute", config.workers)
        timeout = config.label.timeout_seconds_per_structure
        ask = partial(open_teacher, config.label.teacher, supervised=True, timeout_seconds_per_structure=timeout)
        return cls(
            config, run, progress, executor, cache(ask) if config.label.teacher.on_demand else None, fallback, until, formats
        )

    def of_subrun(self, config: Config, run: RunFolder) -> Context:
        """Return the context of a subrun, with an executor of its own and the same teacher."""
        executor = config.execute.start(run.path / "execute", config.workers)
        return replace(self, config=config, run=run, executor=executor)

    def stop_in_time(self) -> None:
        """Raise :class:`~potstill.core.errors.OutOfTimeError` at the time limit."""
        if self.until is not None and monotonic() >= self.until:
            raise OutOfTimeError
