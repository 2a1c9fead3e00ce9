"""Conversion between dataset files, extended XYZ and ASE's databases, by the ending of the name.

Structures stream from one file into the other. The new file is read back and compared before it gets its name.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np

from potstill.core.counts import several
from potstill.core.errors import DatasetError, InputError
from potstill.core.files import sealed, shown
from potstill.core.types import Array, Labels, Structure
from potstill.dataset.formats import Format, Precision, format_of, format_to_write, hdf5
from potstill.dataset.formats.atoms import record_of
from potstill.dataset.formats.format import read_frames, reading
from potstill.dataset.inputs.door import refuse_at_door
from potstill.dataset.inputs.first_labels import FirstLabels
from potstill.dataset.inputs.frames import open_frames
from potstill.dataset.inputs.methods import Methods
from potstill.dataset.inputs.options import DEFAULT, ReadOptions
from potstill.dataset.inputs.unusable import Frame
from potstill.dataset.read import open_file

log = logging.getLogger(__name__)
REPORT_EVERY = 100  # structures


def convert(
    source: Path,
    target: Path,
    on_progress: Callable[[int], None] = lambda count: None,
    *,
    options: ReadOptions = DEFAULT,
) -> int:
    """Write the structures of one file in the format of another's ending.

    Parameters
    ----------
    source
        Potstill's HDF5, extended XYZ, an ASE database or LMDB, or another format of :mod:`potstill.dataset.inputs`.
    target
        File to make, of one of :data:`potstill.dataset.formats.FORMATS`.
    on_progress
        Function called with the number of structures since the last call, once while they are written and once while they
        are compared.
    options
        Options for reading the source: elements of types, keys of labels.

    Returns
    -------
    int
        Number of structures.

    Raises
    ------
    InputError
        If an ending is unknown, a package is missing, the source cannot be read or is empty, or the target exists.
    DatasetError
        If the written file does not read back as the same structures.
    """
    if target.exists():
        raise InputError(f"{target} exists already; give another name or remove it")
    written = format_to_write(target)
    structures = read_structures(source, options)
    first = next(structures, None)
    if first is None:
        raise InputError(f"{source} contains no structures")
    with sealed(target) as temporary:
        if written is format_of(source) is hdf5.FORMAT:
            shutil.copyfile(source, temporary)  # with its splits, teacher and refusals
        else:
            _tell_losses(source, target)
            written.write(_counted(chain([first], structures), on_progress), temporary)
        return _compare(_counted(_again(source, options), on_progress), _read_back(written, temporary), written.precision)


def _tell_losses(source: Path, target: Path) -> None:
    """Log what a dataset file holds beside its structures, for no other format keeps it."""
    if format_of(source) is not hdf5.FORMAT:
        return
    dataset = open_file(source)
    lost = {
        "the split": dataset.splits is not None,
        "the teacher": "teacher" in dataset.attributes,
        several(len(dataset.refused), "refusal"): dataset.refused,
        ", ".join(column.path for column in dataset.extra): dataset.extra,
    }
    if names := [name for name, there in lost.items() if there]:
        log.warning("%s: not kept in %s: %s", shown(source), shown(target), ", ".join(names))


def read_structures(path: Path, options: ReadOptions = DEFAULT) -> Iterator[Structure]:
    """Yield a file's structures with their labels, if any, and log data of the file that structures cannot hold.

    Remarks about a structure are in its ``generator_metadata`` as well.

    Raises
    ------
    InputError
        If there is no such file, or one of its frames gives no structure; file and frame are named.
    """
    remarks: dict[str, list[int]] = {}
    methods = Methods()
    for k, frame in enumerate(_compared(path, options)):
        for remark in frame.remarks:
            remarks.setdefault(remark, []).append(k)
        structure = _with_remarks(frame)
        methods.add(structure)
        yield structure
    for remark in methods.remark():
        log.warning("%s: %s", shown(path), remark)
    for remark, where in remarks.items():
        others = f" and {len(where) - 1} more" if len(where) > 1 else ""
        log.warning("%s, frame %d%s: %s", shown(path), where[0], others, remark)


def _again(path: Path, options: ReadOptions) -> Iterator[Structure]:
    """Yield the structures a second time, without logging."""
    return map(_with_remarks, _compared(path, options))


def _with_remarks(frame: Frame) -> Structure:
    """Return the structure of a frame, with the remarks about it in its metadata."""
    if not frame.remarks:
        return frame.structure
    metadata = {**frame.structure.generator_metadata, "remarks": list(frame.remarks)}
    return frame.structure.with_(generator_metadata=metadata)


def _read_back(written: Format, path: Path) -> Iterator[Structure]:
    """Yield the written structures."""
    return (frame.structure for frame in written.read(path, ReadOptions(ignore_charge=True, keep_not_finite=True)))


def _compared(path: Path, options: ReadOptions) -> Iterator[Frame]:
    """Yield the frames of a file, with a remark where labels are of another calculation than the first ones."""
    first = FirstLabels()
    return map(first.compared, _frames(path, options))


def _frames(path: Path, options: ReadOptions) -> Iterator[Frame]:
    if not path.exists():
        raise InputError(f"no file at {shown(path)}")
    if path.is_dir():
        raise InputError(
            f"{shown(path)} is a folder, and one file was expected\n"
            f"  name a file in it; or take the whole folder in a config:  paths: [{shown(path)}]  of the source files"
        )
    found = format_of(path)
    if found is not None:  # open_frames refuses by itself
        with reading(path):
            refuse_at_door(path)
        yield from found.read(path, options)
        return
    with reading(path):
        frames = open_frames(path, options)
    yield from read_frames(path, frames)


def _counted(structures: Iterable[Structure], on_progress: Callable[[int], None]) -> Iterator[Structure]:
    for count, structure in enumerate(structures):
        if count % REPORT_EVERY == REPORT_EVERY - 1:
            on_progress(REPORT_EVERY)
        yield structure


def _compare(meant: Iterable[Structure], found: Iterable[Structure], precision: Precision) -> int:
    """Return the number of structures; raise DatasetError if one differs by more than the precision of the format."""
    count = 0
    for a, b in zip_longest(meant, found):
        if a is None or b is None:
            raise DatasetError(f"{'more' if a is None else 'fewer'} structures were read back than the {count} that agree")
        if fault := _difference(a, b, precision):
            raise DatasetError(f"this format cannot store structure {a.id}: {fault} read back differently")
        count += 1
    return count


def _difference(a: Structure, b: Structure, precision: Precision) -> str:
    """Return the name of the first field that differs by more than it may; empty when none does."""
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
    if a.energy != b.energy and not (np.isnan(a.energy) and np.isnan(b.energy)):
        return "energy"
    if not _near(a.forces, b.forces, precision.absolute, precision.relative):
        return "forces"
    if a.stress is None or b.stress is None:
        return "" if a.stress is b.stress else "stress"
    return "" if _near(a.stress, b.stress, precision.stress, precision.relative) else "stress"


def _near(a: Array, b: Array, absolute: float, relative: float) -> bool:
    with np.errstate(invalid="ignore"):
        near = np.abs(a - b) <= absolute + relative * np.abs(a)
    return bool((near | (a == b) | (np.isnan(a) & np.isnan(b))).all())
