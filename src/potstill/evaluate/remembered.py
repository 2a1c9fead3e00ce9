"""Rows of an evaluation that was stopped, so that the next one goes on.

One line of JSON for each check of each system, in a file that belongs to one origin: a student, data, options, teacher and
seed. A file of another origin is begun anew, and a line that was cut off by a kill is measured again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from potstill import __version__
from potstill.core.checksums import sha256_of_json
from potstill.core.files import sealed
from potstill.evaluate.measured import Row

ORIGIN = "origin"
CHANGE_SYSTEMS = ("phonopy", "spglib")  # optional packages: with them other crystals, or other cells, are measured


class Remembered:
    """Rows by system and checks; without a file, nothing is remembered.

    Parameters
    ----------
    path
        File of the rows; None for no file.
    origin
        What the rows are measured from, JSON-serialisable.
    """

    def __init__(self, path: Path | None = None, origin: Mapping[str, Any] | None = None) -> None:
        self._path, self._rows = path, dict[str, list[Row]]()
        if path is None:
            return
        found = [name for name in CHANGE_SYSTEMS if find_spec(name)]
        first = {ORIGIN: sha256_of_json({"potstill": __version__, "packages": found, **(origin or {})})}
        self._rows = _rows_of(list(_lines(path)), first)
        text = [json.dumps(first), *(_line(of, rows) for of, rows in self._rows.items())]
        with sealed(path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in text), encoding="utf-8")

    def rows(self, system: str, checks: tuple[str, ...], measure: Callable[[], list[Row]]) -> list[Row]:
        """Return the rows of some checks of a system, which are measured if they are not in the file.

        Rows that did not run are measured again the next time.
        """
        of = " ".join([*checks, "of", system])
        if of in self._rows:
            return self._rows[of]
        found = measure()
        if self._path is not None and all(row.measured is not None or not row.applies for row in found):
            self._rows[of] = found
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{_line(of, found)}\n")
        return found


def _line(of: str, rows: list[Row]) -> str:
    return json.dumps({"of": of, "rows": [row.report() for row in rows]})


def _rows_of(lines: list[Any], first: dict[str, str]) -> dict[str, list[Row]]:
    """Return the rows in the lines of a file; none where its first line is another, or a line has another shape."""
    if lines[:1] != [first]:
        return {}
    try:
        return {line["of"]: [Row.of_report(row) for row in line["rows"]] for line in lines[1:]}
    except (KeyError, TypeError, AttributeError):
        return {}


def _lines(path: Path) -> Iterator[Any]:
    """Yield the lines of a file up to the first that is damaged; none where it cannot be read."""
    with suppress(OSError, ValueError), path.open("rb") as file:
        yield from map(json.loads, file)
