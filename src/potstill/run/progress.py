"""Progress of a run for the user: one line for each stage, with a bar below it on a terminal while the stage works.

Without a terminal there is no bar: a plain line says how far the stage is, every half minute. Warnings are grouped by kind
(:mod:`potstill.run.notices`).
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

from potstill.core.units import duration
from potstill.run.notices import Notices

log = logging.getLogger(__name__)
PLAIN_EVERY_SECONDS = 30.0
SOONEST_RATE_SECONDS = 1.0
NAME_WIDTH = 9  # of the longest stage
MARKS = {"done": "[green]done[/green]   ", "failed": "[red]failed[/red] ", "stopped": "[yellow]stopped[/yellow]"}


class _Count(ProgressColumn):
    """Finished items of all; nothing where they are not counted."""

    def render(self, task: Task) -> Text:
        return Text(f"{int(task.completed):,}/{int(task.total):,} {task.fields['unit']}" if task.total else "")


class Display:
    """The bar of one stage on a terminal; without a terminal, lines at intervals.

    Parameters
    ----------
    console
        Where to print.
    name
        Name of the stage; empty for a command that is no stage.
    """

    def __init__(self, console: Console, name: str) -> None:
        self._console, self._name = console, name
        self._shown = time.perf_counter()
        self._bar: RichProgress | None = None
        self._task = TaskID(0)
        if console.is_terminal:
            columns = (
                TextColumn(f"{name:{NAME_WIDTH}}" if name else ""),
                BarColumn(bar_width=24),
                _Count(),
                TextColumn("{task.fields[pace]}"),
                TimeElapsedColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self._bar = RichProgress(*columns, console=console, transient=True)
            self._bar.start()
            self._task = self._bar.add_task("", total=None, note="", unit="", pace="")

    def begin(self, total: int | None, unit: str) -> None:
        """Begin to count, from zero."""
        if self._bar is not None:
            self._bar.reset(self._task, total=total, unit=unit, note="", pace="")

    def count(self, done: int, pace: str, note: str, line: str) -> None:
        """Show a count: ``pace`` and ``note`` beside the bar, or ``line`` where there is no bar, now and then."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, pace=pace, note=escape(note))
        else:
            self._plain(line)

    def note(self, text: str) -> None:
        """Show what comes next."""
        log.info("%s", text)
        if self._bar is not None:
            self._bar.update(self._task, note=escape(text))
        else:
            self._plain(text)

    def end(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()

    def _plain(self, text: str) -> None:
        clock = time.perf_counter()
        if clock - self._shown >= PLAIN_EVERY_SECONDS:
            self._shown = clock
            self._console.print(f"{self._name:{NAME_WIDTH}} {text}".strip(), highlight=False, soft_wrap=True, markup=False)


class Counter:
    """Counts finished and refused work, and shows rate and time left.

    Parameters
    ----------
    display
        Where it is shown.
    total, unit
        Number of items in all, if it is known, and what they are.
    started
        Time of ``time.perf_counter`` at which the work began; now if None.
    """

    def __init__(self, display: Display, total: int | None, unit: str, started: float | None = None) -> None:
        self._display = display
        self._total, self._unit = total, unit
        self._done = self._refused = 0
        self._before = 0  # what an earlier run had done: it took none of the time
        self._first: tuple[int, float] | None = None  # count and time of the first result of this run
        self._started = time.perf_counter() if started is None else started
        self._by_source: dict[str, tuple[int, int]] = {}
        display.begin(total, unit)

    def advance(self, done: int, refused: int = 0, *, before: bool = False) -> None:
        """Add finished work; ``before`` where an earlier run has done it."""
        self._done += done
        self._before += done if before else 0
        self._refused += refused
        self._show(f"{self._refused} refused" if self._refused else "")

    def source(self, name: str, accepted: int, refused: dict[str, int]) -> None:
        """Set the state of one source."""
        self._by_source[name] = (accepted, sum(refused.values()))
        self._done = sum(a for a, _ in self._by_source.values())
        self._refused = sum(r for _, r in self._by_source.values())
        self._show(f"{name}; {self._refused} refused by the filter")

    def set(self, done: int, values: dict[str, float]) -> None:
        """Set the absolute position, with figures to show; all positions before the first were done by an earlier run."""
        if not self._done:
            self._before = done - 1
        self._done = done
        shown = {k: v for k, v in values.items() if k in ("loss", "train_forces", "valid_forces")}
        self._show("  ".join(f"{k} {v:.3f}" for k, v in sorted(shown.items())))

    def line(self, note: str = "") -> str:
        """Return the count with rate and time left as text."""
        total = "" if self._total is None else f"/{self._total}"
        pace = self._pace()
        return f"{self._done}{total} {self._unit}{', ' if pace else ''}{pace}  {note}".rstrip()

    def _pace(self) -> str:
        """Return rate and time left by what this run did; empty while there is too little to tell.

        The rate is that since the first result, before which workers started, as soon as it can be told.
        """
        now = time.perf_counter()
        count, since = self._first or (self._before, self._started)
        if self._done == count or now - since < SOONEST_RATE_SECONDS:
            count, since = self._before, self._started
        elapsed, fresh = now - since, self._done - count
        if not fresh or elapsed < SOONEST_RATE_SECONDS:
            return ""
        rate = f"{3600 * fresh / elapsed:,.0f}/hour"
        return rate if self._total is None else f"{rate}, {duration((self._total - self._done) * elapsed / fresh)} left"

    def _show(self, note: str) -> None:
        if self._first is None and self._done > self._before:
            self._first = self._done, time.perf_counter()
        done = self._done + (0 if self._by_source else self._refused)
        self._display.count(done, self._pace(), note, self.line(note))


class Progress:
    """Prints the progress of a run.

    Parameters
    ----------
    console
        Console of the output; standard error by default, so that standard output stays for results.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(file=sys.stderr)
        self.notices = Notices(self.say)
        self._display: Display | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Show a bar while the stage works; :meth:`ended` prints its line."""
        display = self._display = Display(self.console, name)
        try:
            yield
        finally:
            display.end()
            self._display = None

    def ended(self, name: str, seconds: float, result: str, how: str = "done") -> None:
        """Print the line of a stage, and how often each kind of warning came.

        Parameters
        ----------
        name, seconds
            The stage and its time.
        result
            What came out of it, in one line.
        how
            ``done``, ``failed`` or ``stopped``.
        """
        line = f"[bold]{name:{NAME_WIDTH}}[/bold] {MARKS[how]} {duration(seconds):>9}  {escape(result)}"
        self.console.print(line.rstrip(), highlight=False, soft_wrap=True)
        self.notices.repeat()

    def skip(self, name: str, seconds: float) -> None:
        """Print that an earlier run has done the stage."""
        self.console.print(f"[bold]{name:{NAME_WIDTH}}[/bold] done before ({duration(seconds)})", highlight=False)

    def say(self, text: str) -> None:
        """Print one line above the bar."""
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)

    def note(self, text: str) -> None:
        """Log what comes next, and show it beside the bar or, where there is none, if half a minute has passed."""
        if self._display is not None:
            self._display.note(text)
        else:
            log.info("%s", text)
            self.say(text)

    @contextmanager
    def counts(self, total: int | None, unit: str, started: float | None = None) -> Iterator[Counter]:
        """Show a counter with rate and refusals, and with the time left where the total is known; see :class:`Counter`."""
        if self._display is not None:
            yield Counter(self._display, total, unit, started)
            return
        display = Display(self.console, "")
        try:
            yield Counter(display, total, unit, started)
        finally:
            display.end()
