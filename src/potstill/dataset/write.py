"""Writer of structures, in blocks, into one file of schema 1, and of part files that are sealed during a run.

A part holds the structures of one task, whole or not at all: it is written under a temporary name, synced to disk and
renamed. ``kill -9`` therefore costs the part in hand and never a file.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from potstill.core.files import sealed
from potstill.core.types import Array, Labels, Refused, Structure
from potstill.core.units import UNITS
from potstill.dataset.blocks import BLOCK_STRUCTURES, GROUP, crc_of
from potstill.dataset.schema import (
    ARRAY_COLUMNS,
    EXTRA,
    EXTRA_UNITS,
    REFUSED_COLUMNS,
    SCHEMA_VERSION,
    TEXT_COLUMNS,
    Column,
    checksum,
    datasets_of,
    extra_column,
    open_for_writing,
    packed,
    start_of_checksum,
    text_dtype,
)

BYTES_BESIDE_TEXT = 64  # of a text in HDF5: its place, its length, and what rounds it up
BYTES_PER_ATOM, BYTES_PER_STRUCTURE = (
    sum(np.dtype(c.dtype).itemsize * math.prod(c.shape) for c in ARRAY_COLUMNS if c.per_atom is per_atom)
    for per_atom in (True, False)
)
_AS_JSON = json.JSONEncoder(sort_keys=True).encode
Rows = Mapping[str, Any]  # path of a column -> array with a row per atom or structure, or list of texts


class Writer:
    """Writer that fills the columns of a new file in order; checksums are those of the given data, not of the disk.

    Parameters
    ----------
    file
        Empty HDF5 file.
    n_structures, n_atoms
        Numbers of structures and atoms of the whole file.
    labelled
        Whether it holds labels.
    extra
        Columns of further quantities of each atom.
    digests
        Whether each column as a whole gets a SHA-256 too, beside the CRC-32 of its blocks.
    """

    def __init__(
        self,
        file: h5py.File,
        n_structures: int,
        n_atoms: int,
        *,
        labelled: bool,
        extra: Sequence[Column] = (),
        digests: bool = True,
    ) -> None:
        self._file = file
        self._columns = [c for c in (*ARRAY_COLUMNS, *extra, *TEXT_COLUMNS) if labelled or not c.label]
        self._datasets: dict[str, h5py.Dataset] = {}
        self._digests: dict[str, Any] = {}
        self._blocks: dict[str, list[int]] = {column.path: [] for column in self._columns}
        self._waiting: list[tuple[Array, Rows]] = []
        self._sizes: list[Array] = []
        self._total = (n_structures, n_atoms)
        self._at = (0, 0)  # structures and atoms that are written
        for column in self._columns:
            shape = (n_atoms if column.per_atom else n_structures, *column.shape)
            dtype = text_dtype() if column in TEXT_COLUMNS else np.dtype(column.dtype)
            self._datasets[column.path] = file.create_dataset(column.path, shape, dtype)
            if column in extra:
                self._datasets[column.path].attrs["unit"] = EXTRA_UNITS.get(column.path.removeprefix(f"{EXTRA}/"), "")
            if digests:
                self._digests[column.path] = start_of_checksum(shape)

    def append(self, sizes: Array, rows: Rows) -> None:
        """Add structures.

        Parameters
        ----------
        sizes
            (k,) atoms of each of them.
        rows
            Columns by path; numbers are rounded to the type of the column.
        """
        atoms = np.concatenate([[0], np.cumsum(sizes)])
        waiting = sum(len(some) for some, _ in self._waiting)
        start = 0
        while start < len(sizes):
            stop = min(len(sizes), start + BLOCK_STRUCTURES - waiting)
            piece = {
                c.path: rows[c.path][slice(*atoms[[start, stop]]) if c.per_atom else slice(start, stop)]
                for c in self._columns
            }
            self._waiting.append((np.asarray(sizes[start:stop]), piece))
            waiting += stop - start
            if waiting == BLOCK_STRUCTURES:
                self._write_block()
                waiting = 0
            start = stop

    def finish(
        self,
        *,
        attributes: Mapping[str, Any],
        splits: Array | None = None,
        refused: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Write the waiting structures, offsets, refusals by path, the split, checksums and attributes.

        Raises
        ------
        ValueError
            If there are fewer structures than were announced.
        """
        if self._waiting:
            self._write_block()
        file = self._file
        if self._at != self._total:
            raise ValueError(f"(structures, atoms): {self._total} were announced, {self._at} were written")
        ptr = np.concatenate([[0], *self._sizes]).cumsum().astype(np.int64)
        file["structures/ptr"] = ptr
        for column in REFUSED_COLUMNS:
            texts = list((refused or {}).get(column.path, ()))
            file.create_dataset(column.path, data=texts or None, shape=(len(texts),), dtype=text_dtype())
        if splits is not None:
            file["splits/part"] = np.asarray(splits, dtype=np.uint8)
        file[f"{GROUP}/structures/ptr"] = np.array([crc_of(ptr)], dtype=np.uint32)
        for path, sums in self._blocks.items():
            file[f"{GROUP}/{path}"] = np.array(sums, dtype=np.uint32)
        for name, value in attributes.items():
            file.attrs[name] = json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else value
        file.attrs["schema_version"] = SCHEMA_VERSION
        file.attrs["units"] = json.dumps(UNITS)
        if not self._digests:
            return
        digests = {path: digest.hexdigest() for path, digest in self._digests.items()}
        rest = {name: checksum(dataset) for name, dataset in datasets_of(file) if name not in digests}
        file.attrs["checksums"] = json.dumps({**digests, **rest}, sort_keys=True)

    def _write_block(self) -> None:
        """Round, add up and write all columns of the structures that wait."""
        sizes = np.concatenate([some for some, _ in self._waiting])
        n_structures, n_atoms = len(sizes), int(sizes.sum())
        for column in self._columns:
            pieces = [rows[column.path] for _, rows in self._waiting]
            joined: Any
            if column in TEXT_COLUMNS:
                joined = [text for piece in pieces for text in piece]
            else:
                joined = np.concatenate(pieces).astype(column.dtype, copy=False)
            content = packed(joined)
            self._blocks[column.path].append(zlib.crc32(content))
            if column.path in self._digests:
                self._digests[column.path].update(content)
            at, n = (self._at[1], n_atoms) if column.per_atom else (self._at[0], n_structures)
            self._datasets[column.path][at : at + n] = joined
        self._sizes.append(sizes)
        self._at = (self._at[0] + n_structures, self._at[1] + n_atoms)
        self._waiting = []


def write_part(
    path: Path,
    structures: Sequence[Structure],
    refused: Sequence[Refused] = (),
    *,
    labelled: bool = False,
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Seal one part file.

    Parameters
    ----------
    path
        Path of the new file; its folder is made.
    structures
        Structures of this part, in order; the list may be empty.
    refused
        Refusals of this task.
    labelled
        Whether the part holds labels; if so, every structure must have labels.
    attributes
        Written as attributes of the file (dictionaries as JSON).
    """
    sizes = np.array([len(s) for s in structures], dtype=np.int64)
    refusals = refusals_as_text(refused)
    texts = {c.path: [_VALUES[c.path](s) for s in structures] for c in TEXT_COLUMNS}
    rows: dict[str, Any] = dict(texts)
    for column in ARRAY_COLUMNS if structures else ():
        if labelled or not column.label:
            join = np.concatenate if column.per_atom else np.array
            rows[column.path] = join([_VALUES[column.path](s) for s in structures])
    extra = _extra_columns(structures) if labelled else ()
    expected = bytes_expected(len(sizes), int(sizes.sum()), [*texts.values(), *refusals.values()], extra)
    for column in extra:
        rows[column.path] = _joined(column.path.removeprefix(f"{EXTRA}/"), structures)
    with sealed(path) as temporary, open_for_writing(temporary, expected) as file:
        writer = Writer(file, len(sizes), int(sizes.sum()), labelled=labelled, extra=extra, digests=False)
        writer.append(sizes, rows)
        writer.finish(attributes=attributes or {}, refused=refusals)


def _extra_columns(structures: Sequence[Structure]) -> tuple[Column, ...]:
    """Return the columns of further quantities that the atoms of all structures have."""
    first = _labels(structures[0]).extra if structures else {}
    return tuple(extra_column(name, np.shape(first[name])[1:]) for name in sorted(first))


def _joined(name: str, structures: Sequence[Structure]) -> Array:
    for structure in structures:
        found = _labels(structure).extra.get(name)
        if found is None or len(found) != len(structure):
            raise ValueError(f"structure {structure.id} has no {name} for each of its {len(structure)} atoms, the first has")
    return np.concatenate([_labels(s).extra[name] for s in structures])


def refusals_as_text(refused: Sequence[Refused]) -> dict[str, list[str]]:
    """Return the columns of refusals by path."""
    return {c.path: [_unicode(getattr(r, c.path.rsplit("/", 1)[1])) for r in refused] for c in REFUSED_COLUMNS}


def _unicode(text: str) -> str:
    """Return a text that HDF5 takes: a plug-in's words may hold half of a letter, or a zero."""
    return text.encode("utf-8", "replace").decode().replace("\0", " ")


def bytes_expected(n_structures: int, n_atoms: int, texts: Iterable[Iterable[str]], extra: Sequence[Column] = ()) -> int:
    """Return the size in bytes of a file with these columns of text on the disk, or slightly more."""
    letters = sum(len(text.encode()) + BYTES_BESIDE_TEXT for rows in texts for text in rows)
    per_atom = BYTES_PER_ATOM + sum(4 * math.prod(column.shape) for column in extra)
    return letters + per_atom * n_atoms + (BYTES_PER_STRUCTURE + 9) * n_structures  # 9: ptr and split


def _labels(structure: Structure) -> Labels:
    if structure.labels is None:
        raise ValueError(f"structure {structure.id} has no labels")
    return structure.labels


def _stress(structure: Structure) -> Array:
    stress = _labels(structure).stress
    return np.zeros((3, 3)) if stress is None else stress


def _metadata(structure: Structure) -> str:
    return _AS_JSON(dict(structure.generator_metadata))


_VALUES: dict[str, Callable[[Structure], Any]] = {
    "atoms/atomic_numbers": lambda s: s.atomic_numbers,
    "atoms/positions": lambda s: s.positions,
    "atoms/forces": lambda s: _labels(s).forces,
    "structures/cell": lambda s: s.cell,
    "structures/pbc": lambda s: s.pbc,
    "structures/energy": lambda s: _labels(s).energy,
    "structures/stress": _stress,
    "structures/has_stress": lambda s: _labels(s).stress is not None,
    "structures/id": lambda s: s.id,
    "structures/source": lambda s: s.source,
    "structures/family": lambda s: s.family,
    "structures/generator_metadata": _metadata,
}
