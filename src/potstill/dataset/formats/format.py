"""What every format states of itself: how it is read and written, and what it keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from potstill.core.errors import InputError, PotstillError
from potstill.core.types import Structure


@dataclass(frozen=True, slots=True)
class Precision:
    """Largest error of a number that was written and read: ``absolute + relative * |number|``.

    It holds for positions (Å), forces (eV/Å) and stress (eV/Å^3). Energy, cell, pbc, elements and text are always exact.

    Parameters
    ----------
    absolute
        Of positions and forces.
    relative
        Of positions, forces and stress.
    stress
        Absolute, of stress.
    """

    absolute: float = 0.0
    relative: float = 0.0
    stress: float = 0.0


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of file.

    Parameters
    ----------
    endings
        Of the file's name, with their dot.
    read
        Stream of a file's structures, in order.
    write
        Writes a stream of structures, of which there is at least one, to a path where nothing stands.
    precision
        What a structure may lose.
    """

    endings: tuple[str, ...]
    read: Callable[[Path], Iterator[Structure]]
    write: Callable[[Iterable[Structure], Path], None]
    precision: Precision


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a foreign reader raises into an error that names the file."""
    try:
        yield
    except PotstillError:
        raise
    except Exception as error:
        raise InputError(f"ASE cannot read {path}: {type(error).__name__}: {error}") from error
