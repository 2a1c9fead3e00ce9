"""Objects by name: plug-ins by entry point, optional packages imported when needed, and "did you mean"."""

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
    """Import an optional package, with separate errors for a missing package and for a broken one.

    Raises
    ------
    MissingExtraError
        If the package is not installed; the message has the install command.
    BrokenExtraError
        If the package is installed and fails on import; the message has its error.
    """
    if importlib.util.find_spec(package) is None:
        raise MissingExtraError(package, extra, why)
    try:
        return importlib.import_module(package)
    except Exception as error:
        raise BrokenExtraError(package, error) from error


def plugins(group: str) -> dict[str, Any]:
    """Return by name the classes that installed packages register under ``potstill.<group>``."""
    return {point.name: point.load() for point in entry_points(group=f"potstill.{group}")}


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"did you mean 'cutoff'? (known: …)"`` for an unknown name."""
    names = sorted(known)
    same = [each for each in names if each.lower() == name.lower()]
    close = same or difflib.get_close_matches(name, names, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(repr(c) for c in close)}? " if close else ""
    return f"{hint}(known: {', '.join(names)})"
