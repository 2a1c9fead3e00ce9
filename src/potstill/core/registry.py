"""From names to objects: plug-ins by entry point, packages borrowed at the last moment, and "did you mean"."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Iterable
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

from potstill.core.errors import BrokenExtraError, MissingExtraError


def borrow(package: str, extra: str, why: str) -> ModuleType:
    """Import an optional package, telling "missing" (with the install line) from "broken" (with its error).

    Raises
    ------
    MissingExtraError
        If it is not installed.
    BrokenExtraError
        If it is installed and fails on import.
    """
    if importlib.util.find_spec(package) is None:
        raise MissingExtraError(package, extra, why)
    try:
        return importlib.import_module(package)
    except Exception as error:
        raise BrokenExtraError(package, error) from error


def plugins(group: str) -> dict[str, Any]:
    """Classes that installed packages offer under ``potstill.<group>``, by name."""
    return {point.name: point.load() for point in entry_points(group=f"potstill.{group}")}


def nearest(name: str, known: Iterable[str]) -> str:
    """``"did you mean 'cutoff'? (known: …)"`` for an unknown name."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(repr(c) for c in close)}? " if close else ""
    return f"{hint}(known: {', '.join(names)})"
