"""Between dataset files, extended XYZ and ASE's databases, by the ending of the name.

Structures stream from one file into the other. What was written is read back and compared before it gets its name.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np

from potstill.core.errors import DatasetError, InputError
from potstill.core.files import sealed
from potstill.core.types import Array, Labels, Structure
from potstill.dataset.formats import Precision, format_of, format_to_write, hdf5
from potstill.dataset.formats.atoms import read_with_ase, record_of

REPORT_EVERY = 100  # structures


def convert(source: Path, target: Path, on_progress: Callable[[int], None] = lambda count: None) -> int:
    """Write the structures of one file in the format of another's ending.

    Parameters
    ----------
    source
        Our HDF5, extended XYZ, an ASE database or LMDB, or anything else that ASE reads.
    target
        File to make, of one of :data:`potstill.dataset.formats.FORMATS`.
    on_progress
        Called with the number of structures since the last call, while they are written and again while they are compared.

    Returns
    -------
    int
        Number of structures.

    Raises
    ------
    InputError
        If an ending is unknown, a package is missing, the source cannot be read or is empty, or the target exists.
    DatasetError
        If what was written does not read back as what was meant.
    """
    if target.exists():
        raise InputError(f"{target} exists already; give another name or remove it")
    written = format_to_write(target)
    structures = read_structures(source)
    first = next(structures, None)
    if first is None:
        raise InputError(f"{source} holds no structures")
    with sealed(target) as temporary:
        if written is format_of(source) is hdf5.FORMAT:
            shutil.copyfile(source, temporary)  # with its splits, teacher and refusals
        else:
            written.write(_counted(chain([first], structures), on_progress), temporary)
        return _compare(_counted(read_structures(source), on_progress), written.read(temporary), written.precision)


def read_structures(path: Path) -> Iterator[Structure]:
    """Stream of a file's structures, with labels where it has them.

    Labels are taken from ``REF_energy``, ``REF_forces`` and ``REF_stress``, else from the file's own calculator results.

    Raises
    ------
    InputError
        If there is no such file, or it cannot be read.
    """
    if not path.exists():
        raise InputError(f"no file at {path}")
    found = format_of(path)
    return found.read(path) if found else read_with_ase(path)


def _counted(structures: Iterable[Structure], on_progress: Callable[[int], None]) -> Iterator[Structure]:
    for count, structure in enumerate(structures):
        if count % REPORT_EVERY == REPORT_EVERY - 1:
            on_progress(REPORT_EVERY)
        yield structure


def _compare(meant: Iterable[Structure], found: Iterable[Structure], precision: Precision) -> int:
    """Number of structures, when all of them are the same to the precision of the format."""
    count = 0
    for a, b in zip_longest(meant, found):
        if a is None or b is None:
            raise DatasetError(f"{'more' if a is None else 'fewer'} structures were read back than the {count} that agree")
        if fault := _difference(a, b, precision):
            raise DatasetError(f"structure {a.id} does not survive this format: {fault} read back differently")
        count += 1
    return count


def _difference(a: Structure, b: Structure, precision: Precision) -> str:
    """Name of the first field that differs by more than it may; empty when none does."""
    if record_of(a) != record_of(b):
        return "id, source, family or generator_metadata"
    for name in ("atomic_numbers", "cell", "pbc"):
        if not np.array_equal(getattr(a, name), getattr(b, name)):
            return name
    if not _near(a.positions, b.positions, precision.absolute, precision.relative):
        return "positions"
    if a.labels is None or b.labels is None:
        return "" if a.labels is b.labels else "labels"
    return _difference_of_labels(a.labels, b.labels, precision)


def _difference_of_labels(a: Labels, b: Labels, precision: Precision) -> str:
    if a.energy != b.energy:
        return "energy"
    if not _near(a.forces, b.forces, precision.absolute, precision.relative):
        return "forces"
    if a.stress is None or b.stress is None:
        return "" if a.stress is b.stress else "stress"
    return "" if _near(a.stress, b.stress, precision.stress, precision.relative) else "stress"


def _near(a: Array, b: Array, absolute: float, relative: float) -> bool:
    return bool((np.abs(a - b) <= absolute + relative * np.abs(a)).all())
