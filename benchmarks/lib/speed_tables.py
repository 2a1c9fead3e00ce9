"""Rows of ``results/student_speed.json`` as tables: for the terminal, and in Markdown."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

TITLES = {
    "single": "One structure, one call: energy, forces, stress",
    "batch": "32 crystals in one call",
    "md": "One step of MD",
}
WIDTH_OF_FILES = 200
Row = dict[str, Any]


def print_tables(rows: Sequence[Row]) -> None:
    """One table per mode, with the time of a call (median) and how many times faster than orb-v2 that is."""
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH_OF_FILES)
    for mode, title in TITLES.items():
        header, lines = _grid(rows, mode, lambda row: f"{_time(row['seconds'])}{_ratio(row, '  x')}")
        if lines:
            table = Table(*header, title=title)
            for line in lines:
                table.add_row(*line)
            console.print(table)
    for reason in _reasons(rows):
        console.print(reason, markup=False)


def markdown_tables(rows: Sequence[Row]) -> str:
    """One table per mode: how many times faster than orb-v2; the time itself where the model is orb-v2."""
    parts = []
    for mode, title in TITLES.items():
        header, lines = _grid(rows, mode, _cell)
        if lines:
            rule = ["---", *["---:"] * (len(header) - 1)]
            parts.append("\n".join([f"{title}:", "", *(f"| {' | '.join(line)} |" for line in [header, rule, *lines])]))
    return "\n\n".join([*parts, *(["\n".join(f"- {reason}" for reason in _reasons(rows))] if _reasons(rows) else [])])


def _grid(rows: Sequence[Row], mode: str, show: Callable[[Row], str]) -> tuple[list[str], list[list[str]]]:
    """Header and lines: models down, systems across; ``–`` where a model was skipped."""
    chosen = [row for row in rows if row.get("mode") == mode]
    systems = list(dict.fromkeys(row["system"] for row in chosen))
    models = {row["model"]: row for row in chosen}
    cells = {(row["model"], row["system"]): show(row) for row in chosen if "skipped" not in row}
    lines = [
        [name, f"{row['parameters'] / 1e6:.2f} M", row["weights"], *(cells.get((name, system), "–") for system in systems)]
        for name, row in models.items()
    ]
    return ["model", "parameters", "weights", *systems], lines


def _cell(row: Row) -> str:
    return _time(row["seconds"]) if row["model"] == row["reference"] else _ratio(row, "x") or _time(row["seconds"])


def _ratio(row: Row, prefix: str) -> str:
    return "" if row["ratio"] is None else f"{prefix}{row['ratio']:.{1 if row['ratio'] < 9.95 else 0}f}"


def _time(seconds: float) -> str:
    milliseconds = 1e3 * seconds
    return f"{milliseconds:,.{0 if milliseconds >= 99.5 else 1 if milliseconds >= 9.95 else 2}f} ms"


def _reasons(rows: Sequence[Row]) -> list[str]:
    """Why what was skipped, once per model and system."""
    named = [
        (" ".join(x for x in (row["model"], row.get("mode"), row.get("system")) if x), row["skipped"])
        for row in rows
        if "skipped" in row
    ]
    return [f"skipped: {what}: {reason}" for what, reason in named]
