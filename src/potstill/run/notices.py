"""Warnings on the terminal, grouped: the first of each kind is printed at once, all others are counted.

The input is records of the log, the output are lines. The full list is in ``log.txt``.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass

PACKAGES = "py.warnings"  # logger of Python's own warnings
MOST_CHARACTERS = 200


@dataclass(slots=True)
class _Kind:
    name: str
    first: str
    count: int = 1


class Notices(logging.Handler):
    """Print the first warning of each kind, and count the others.

    Two warnings are of one kind where they come from the same line of code. Warnings of Python packages are only counted.

    Parameters
    ----------
    say
        Prints one line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say
        self._kinds: dict[str, _Kind] = {}
        self._packages: dict[str, int] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record or count it."""
        try:
            if record.name == PACKAGES:
                category = _category(record.getMessage())
                self._packages[category] = self._packages.get(category, 0) + 1
                return
            text = " ".join(record.getMessage().split())
            kind = f"{record.pathname}:{record.lineno}:{text.partition(':')[0] if record.msg == '%s' else ''}"
            if kind in self._kinds:
                self._kinds[kind].count += 1
                return
            short = text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"
            self._kinds[kind] = _Kind(record.levelname.lower(), short)
            self._say(f"  {record.levelname.lower()}: {short}")
        except Exception:  # noqa: BLE001 - as every handler of the standard library
            self.handleError(record)

    def repeat(self) -> None:
        """Print how often each kind came again since the last call, and forget all kinds."""
        for kind in self._kinds.values():
            if kind.count > 1:
                like = kind.first.partition(": ")[0].removesuffix("…")
                self._say(f"  {kind.name}: {kind.count - 1} more in log.txt like: {like} …")
        if self._packages:
            total = sum(self._packages.values())
            named = ", ".join(f"{name} {count}" for name, count in sorted(self._packages.items()))
            self._say(f"  {total} warning{'s' if total > 1 else ''} of Python packages in log.txt: {named}")
        self._kinds.clear()
        self._packages.clear()


def _category(text: str) -> str:
    """Return the category of a warning as Python formats it, ``file:line: Category: message``."""
    found = re.search(r":\d+: (\w+):", text)
    return found.group(1) if found else "warning"
