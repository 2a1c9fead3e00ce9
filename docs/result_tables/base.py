"""Result files, and Markdown tables and figures of sentences made of their rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
TABLES: dict[str, Callable[[], str]] = {}
FIGURES: dict[str, Callable[[], str]] = {}
SECONDS_PER_DAY, FS_PER_NS = 86_400, 1e6


def table_of(make: Callable[[], str]) -> Callable[[], str]:
    """Register a function under its name, with dashes, as a table for ``::measured``."""
    TABLES[make.__name__.replace("_", "-")] = make
    return make


def figure_of(make: Callable[[], str]) -> Callable[[], str]:
    """Register a function under its name, with dashes, as a figure for ``{figure NAME}``."""
    FIGURES[make.__name__.replace("_", "-")] = make
    return make


def result(name: str) -> dict[str, Any]:
    """One result file."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def markdown_table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Markdown lines of a table."""
    lines = [list(head), *rows]
    texts = ["| " + " | ".join(str(cell) for cell in row) + " |" for row in lines]
    return "\n".join([texts[0], "|" + "---|" * len(lines[0]), *texts[1:]])


def printed(name: str, step: str) -> str:
    """Fenced block of the lines that a command printed, from the row of its step in a result file."""
    (row,) = rows_of(name, step=step)
    return "\n".join(["```text", *(line.rstrip() for line in row["printed"]), "```"])


def source(name: str) -> str:
    """Sentence that names the file, the date and the machine of a table."""
    found = result(name)
    machine = found["machine"]
    where = f"{machine['cores']} core{'s' * (machine['cores'] != 1)} ({machine['processor']}), no GPU"
    return f"\n\n*From `benchmarks/results/{name}.json`, {found['date']}, {where}.*"


def rows_of(name: str, **wanted: object) -> list[dict[str, Any]]:
    """Rows of a result file that have these values."""
    return [row for row in result(name)["rows"] if all(row.get(key) == value for key, value in wanted.items())]


def values_of(name: str) -> dict[str, Any]:
    """Rows of the kind what = value, as a mapping."""
    return {row["what"]: row.get("value") for row in result(name)["rows"]}


def title_of(row: dict[str, Any]) -> str:
    """Name of a system in words."""
    return "molten NaCl" if row["system"] == "molten_salt" else str(row["system"]).replace("_", " ")


def rounded(value: float, digits: int = 2) -> str:
    """Return a number with so many significant digits, and no exponent."""
    return f"{float(f'{value:.{digits}g}'):,.10g}"


def per_cent(share: float, digits: int = 2) -> str:
    """Return a share in per cent."""
    return f"{rounded(100 * share, digits)} %"


def span(values: list[float], digits: int = 2) -> str:
    """Return smallest and largest value."""
    return f"{rounded(min(values), digits)} to {rounded(max(values), digits)}"
