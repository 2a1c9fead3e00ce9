"""Description of a file format: its reader, its writer, and the precision of its numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from potstill.core.errors import InputError, PotstillError
from potstill.core.files import shown
from potstill.core.types import Structure
from potstill.dataset.inputs.frames import Frames
from potstill.dataset.inputs.options import ReadOptions
from potstill.dataset.inputs.unusable import Frame, UnusableError, uncompressed


@dataclass(frozen=True, slots=True)
class Precision:
    """Largest error of a number that was written and read: ``absolute + relative * |number|``.

    It holds for positions (Å), forces (eV/Å) and stress (eV/Å^3). Energy, cell, pbc, elements and text are always exact.

    Parameters
    ----------
    absolute
        Absolute error of positions and forces.
    relative
        Relative error of positions, forces and stress.
    stress
        Absolute error of stress.
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
        Endings of the file's name, with the dot.
    read
        Stream of a file's frames, in order.
    write
        Function that writes a stream of at least one structure to a path that does not exist.
    precision
        Largest error of the numbers of a structure.
    """

    endings: tuple[str, ...]
    read: Callable[[Path, ReadOptions], Iterator[Frame]]
    write: Callable[[Iterable[Structure], Path], None]
    precision: Precision


@contextmanager
def reading(path: Path, k: int | None = None) -> Iterator[None]:
    """Turn any exception of a reader into an InputError that names the file, and the frame where it is known."""
    where = shown(path) if k is None else f"{shown(path)}, frame {k}"
    try:
        yield
    except PotstillError:
        raise
    except UnusableError as error:
        raise InputError(f"cannot read {where}: {error.reason}: {error}") from error
    except Exception as error:
        raise InputError(f"cannot read {where}: {type(error).__name__}: {error}") from error


def read_frames(path: Path, frames: Frames) -> Iterator[Frame]:
    """Yield all frames of a file, each with a name.

    Raises
    ------
    InputError
        If a frame gives no structure.
    """
    for k in range(len(frames)):
        with reading(path, k):
            frame = frames.frame(k)
        yield named(frame, path, k)


def named(frame: Frame, path: Path, k: int) -> Frame:
    """Return a frame whose structure has id, source and family, from the name of the file where it states none."""
    structure = frame.structure
    if frame.ours:
        return frame
    plain = uncompressed(path)
    return replace(
        frame,
        structure=structure.with_(
            id=structure.id or f"{shown(plain.stem)}-{k:06d}",
            source=structure.source or shown(plain.stem),
            family=structure.family or structure.formula,
            generator_metadata={**structure.generator_metadata, "file": shown(path.name)},
        ),
    )
