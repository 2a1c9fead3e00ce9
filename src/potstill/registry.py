"""From names to objects: plug-ins by entry point, packages borrowed at the last moment, and "did you mean"."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Iterable
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

from potstill.errors import BrokenExtraError, InputError, MissingExtraError


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


def atomic_numbers_of(symbols: Iterable[str]) -> list[int]:
    """Atomic numbers of chemical symbols.

    Raises
    ------
    InputError
        If one is no element.
    """
    from ase.data import atomic_numbers

    names = list(symbols)
    for name in names:
        if not atomic_numbers.get(name):
            raise InputError(f"no element named '{name}'; {nearest(name, [s for s in atomic_numbers if atomic_numbers[s]])}")
    return [atomic_numbers[name] for name in names]


def symbols_of(atomic_numbers: Iterable[int]) -> list[str]:
    """Chemical symbols in the order of atomic numbers, each once."""
    from ase.data import chemical_symbols

    return [chemical_symbols[z] for z in sorted({int(z) for z in atomic_numbers})]
