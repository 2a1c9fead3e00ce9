"""Progress of a run for the user: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

from potstill.core.units import duration

PLAIN_EVERY_SECONDS = 10.0


class _Rate(ProgressColumn):
    """Column with the number of finished items per hour."""

    def render(self, task: Task) -> Text:
        return Text(f"{3600 * (task.speed or 0.0):,.0f}/hour")


class Counter:
    """Counts finished and refused work, and shows rate and time left."""

    def __init__(self, console: Console, bar: RichProgress | None, total: int | None, unit: str) -> None:
        self._console = console
        self._bar = bar
        self._task = bar.add_task(unit, total=total, note="") if bar else None
        self._total, self._unit = total, unit
        self._done = self._refused = 0
        self._started = self._shown = time.perf_counter()
        self._by_source: dict[str, tuple[int, int]] = {}
        self._finished = False

    def advance(self, done: int, refused: int = 0) -> None:
        """Add finished work."""
        self._done += done
        self._refused += refused
        self._show(f"{self._refused} refused" if self._refused else "")

    def source(self, name: str, accepted: int, refused: dict[str, int]) -> None:
        """Set the state of one source."""
        self._by_source[name] = (accepted, sum(refused.values()))
        self._done = sum(a for a, _ in self._by_source.values())
        self._refused = sum(r for _, r in self._by_source.values())
        self._show(f"{name}; {self._refused} refused by the filter")

    def set(self, done: int, values: dict[str, float]) -> None:
        """Set the absolute position, with figures to show."""
        self._done = done
        shown = {k: v for k, v in values.items() if k in ("loss", "train_forces", "valid_forces")}
        self._show("  ".join(f"{k} {v:.3f}" for k, v in sorted(shown.items())))

    def _show(self, note: str) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done + (0 if self._by_source else self._refused), note=note)
            return
        now = time.perf_counter()
        finished = self._total is not None and self._done + (0 if self._by_source else self._refused) >= self._total
        if now - self._shown >= PLAIN_EVERY_SECONDS or (finished and not self._finished):
            self._finished = finished
            self._shown = now
            elapsed = now - self._started
            rate = self._done / elapsed if elapsed > 0 else 0.0
            line = f"  {self._done} {self._unit}, {3600 * rate:,.0f}/hour"
            if self._total is not None:
                left = (self._total - self._done) / rate if rate > 0 else 0.0
                line = f"  {self._done}/{self._total} {self._unit}, {3600 * rate:,.0f}/hour, {duration(left)} left  {note}"
            self._console.print(line.rstrip(), highlight=False, soft_wrap=True)


class Progress:
    """Prints the progress of a run.

    Parameters
    ----------
    console
        Console of the output; standard error by default, so that standard output stays for results.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(file=sys.stderr)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Print a heading, and the time when the stage has ended."""
        started = time.perf_counter()
        self.console.print(f"[bold]{name}[/bold]")
        yield
        self.console.print(f"  [green]done[/green] in {time.perf_counter() - started:.1f} s", highlight=False)

    def skip(self, name: str, seconds: float) -> None:
        """Print that an earlier run has finished the stage."""
        self.console.print(f"[bold]{name}[/bold]  done before ({seconds:.1f} s)", highlight=False)

    def note(self, text: str) -> None:
        """Print one line about the next step."""
        self.console.print(f"  {text}", highlight=False)

    @contextmanager
    def counts(self, total: int | None, unit: str) -> Iterator[Counter]:
        """Show a counter with rate and refusals, and with the time left where the total is known."""
        if not self.console.is_terminal:
            yield Counter(self.console, None, total, unit)
            return
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with RichProgress(*columns, console=self.console) as bar:
            yield Counter(self.console, bar, total, unit)
