"""Reader of a dataset file as a sequence of structures with labels.

The arrays are memory-mapped at their offset in the file, so opening costs nothing and data may exceed memory. A column of
text of a large file is read when it is first asked for. A file without units or of another schema version is refused.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from potstill.core.counts import several
from potstill.core.errors import DatasetError, InputError
from potstill.core.files import h5_files, quoted
from potstill.core.types import Array, Labels, Refused, Structure
from potstill.core.units import UNITS
from potstill.dataset.blocks import BLOCK_STRUCTURES, crc_of, faults_of, read_blocks
from potstill.dataset.layout import impossible, refuse_other_layout
from potstill.dataset.records import Records, atoms_of, in_range
from potstill.dataset.schema import (
    ARRAY_COLUMNS,
    PARTS,
    REFUSED_COLUMNS,
    SCHEMA_VERSION,
    TEXT_COLUMNS,
    Column,
    checksum,
    datasets_of,
    extra_columns_of,
)
from potstill.dataset.sequence import StructureSequence

NO_DATASET = (
    "states no schema version: another program wrote or edited it; write its structures as extended XYZ,"
    " or copy the dataset again"
)
READ_TEXT_AT_ONCE = 10_000  # structures: opening a small file once is faster than once for each column


def refuse_locked(path: Path) -> None:
    """Refuse an HDF5 file that another process writes to: its bytes are then not those that a stage wrote.

    Raises
    ------
    InputError
        If the file is locked.
    """
    try:
        with h5py.File(path, "r"):
            pass
    except OSError as error:
        _refuse_lock(path, error)


def _refuse_lock(path: Path, error: Exception) -> None:
    if "unable to lock file" in str(error):
        raise InputError(
            f"{path} is on a file system without locks, or another process writes to it: {error}\n"
            "  close the other process, such as a notebook; where there is none:  export HDF5_USE_FILE_LOCKING=FALSE"
        ) from error


def _conversion(path: Path) -> str:
    """Return the command that makes a dataset of a file of another format; nothing for a file that is named as a dataset."""
    if path.suffix in (".h5", ".hdf5"):
        return ""
    return f"\n  make a dataset of it with:  potstill convert {quoted(path)} {quoted(path.with_suffix('.h5'))}"


class Dataset(StructureSequence):
    """A dataset file, read by memory map.

    Parameters
    ----------
    path
        A file of schema 1: ``dataset.h5``, or ``structures/*.h5`` before labelling.
    compare_blocks
        Whether each block is compared with its checksum at its first read. False if :meth:`verify` compares all blocks.

    Raises
    ------
    InputError
        If there is no such file, or it is no HDF5 file.
    DatasetError
        If it is damaged, its schema version or units are others than this version reads, or its parts disagree.
    """

    def __init__(self, path: Path | str, *, compare_blocks: bool = True) -> None:
        self.path = Path(path)
        self._compare = compare_blocks
        if not self.path.is_file():
            raise InputError(f"no dataset at {self.path}\n  make one with:  potstill run CONFIG --out RUN")
        if not h5py.is_hdf5(self.path):
            raise InputError(f"{self.path} is not an HDF5 file (or is cut short){_conversion(self.path)}")
        try:
            with h5py.File(self.path, "r") as file:
                self._read(file)
        except (OSError, ValueError) as error:  # ValueError: a text is no UTF-8, or rows end beyond the file
            _refuse_lock(self.path, error)
            raise DatasetError(f"{self.path} is damaged (cut short or overwritten): {error}") from error
        self._validate()

    def _read(self, file: h5py.File) -> None:
        self.attributes: dict[str, Any] = {k: _plain(v) for k, v in file.attrs.items()}
        version = self.attributes.get("schema_version", "none")
        if version == "none":
            raise DatasetError(f"{self.path} {NO_DATASET}")
        if version != SCHEMA_VERSION:
            raise DatasetError(f"{self.path} has schema version {version!r}, this potstill reads {SCHEMA_VERSION}")
        if _units(self.attributes.get("units", "{}")) != UNITS:
            raise DatasetError(f"{self.path} states units {self.attributes.get('units')}, expected {UNITS}")
        refuse_other_layout(self.path, file)
        with self.path.open("rb") as opened:  # one map for all columns: a folder may have hundreds of files
            memory = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        self.extra = extra_columns_of(file)
        self.columns = (*(c for c in ARRAY_COLUMNS if c.path in file), *self.extra)
        self._columns = {c.path: _view(file[c.path], memory) for c in self.columns}
        refusals = REFUSED_COLUMNS if "refused" in file else ()
        self.ptr: Array = file["structures/ptr"][:]
        self._text = _Texts(self.path, [c.path for c in (*TEXT_COLUMNS, *refusals)])
        if len(self) <= READ_TEXT_AT_ONCE:
            self._text.read_all(file)
        self._sums = read_blocks(file)
        self._whole = {kind: np.zeros(-(-(len(self.ptr) - 1) // BLOCK_STRUCTURES), bool) for kind in ("arrays", "text")}
        self._splits = file["splits/part"][:] if "splits/part" in file else None

    def _validate(self) -> None:
        atoms = len(self._columns["atoms/atomic_numbers"])
        if self.ptr[0] != 0 or self.ptr[-1] != atoms or (np.diff(self.ptr) < 1).any():
            raise DatasetError(f"{self.path} is damaged: structures/ptr does not fit its {atoms} atoms")
        if "structures/ptr" in self._sums and crc_of(self.ptr) != self._sums["structures/ptr"][0]:
            raise DatasetError(f"{self.path} is damaged: structures/ptr differs from its checksum")

    def __len__(self) -> int:
        return len(self.ptr) - 1

    @property
    def labelled(self) -> bool:
        return "structures/energy" in self._columns

    @property
    def splits(self) -> Array | None:
        """Return (S,) uint8 index into ``("train", "valid", "test")``, or None if the file holds no split."""
        return None if self._splits is None else np.asarray(self._splits)

    def has(self, path: str) -> bool:
        """Return whether the file holds this column, such as ``"atoms/forces"``."""
        return path in self._columns or path in self._text

    def _structure(self, k: int) -> Structure:
        self._refuse_damaged(np.array([k]), "arrays", "text")
        atoms = slice(int(self.ptr[k]), int(self.ptr[k + 1]))
        read = self._columns
        return Structure(
            read["atoms/atomic_numbers"][atoms],
            read["atoms/positions"][atoms],
            read["structures/cell"][k],
            read["structures/pbc"][k],
            id=self.ids[k],
            source=self.sources[k],
            family=self.families[k],
            generator_metadata=self._metadata(k),
            labels=self._labels(k, atoms),
        )

    def _metadata(self, k: int) -> dict[str, Any]:
        text = self._text["structures/generator_metadata"][k]
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise DatasetError(
                f"{self.path}: generator_metadata of structure {self.ids[k]} are {text[:60]!r}, expected a JSON object"
            )
        return found

    def _labels(self, k: int, atoms: slice) -> Labels | None:
        if not self.labelled:
            return None
        read = self._columns
        stress = np.array(read["structures/stress"][k], float) if read["structures/has_stress"][k] else None
        extra = {_name(c): np.array(read[c.path][atoms], float) for c in self.extra}
        return Labels(float(read["structures/energy"][k]), np.array(read["atoms/forces"][atoms], float), stress, extra)

    @property
    def ids(self) -> Array:
        return self._text["structures/id"]

    @property
    def sources(self) -> Array:
        return self._text["structures/source"]

    @property
    def families(self) -> Array:
        return self._text["structures/family"]

    def column(self, path: str) -> Array:
        """Return one array of the file, such as ``"atoms/forces"``, read-only and memory-mapped.

        Raises
        ------
        DatasetError
            If the file does not hold it: an unread field is an error, not a zero.
        """
        if path not in self._columns:
            raise DatasetError(f"{self.path} has no {path}; it holds {', '.join(self._columns)}")
        return self._columns[path]

    def text(self, path: str) -> Array:
        """Return (S,) str, one column of text such as ``"structures/family"``.

        Raises
        ------
        DatasetError
            If the file does not hold it, or it cannot be read any more.
        """
        if path not in self._text:
            raise DatasetError(f"{self.path} has no {path}; it holds {', '.join(self._text)}")
        return self._text[path]

    @cached_property
    def refused(self) -> list[Refused]:
        """Return the refusals with their reasons, from every stage up to this file."""
        names = [c.path.rsplit("/", 1)[1] for c in REFUSED_COLUMNS]
        rows = zip(*(self._text[c.path] for c in REFUSED_COLUMNS if c.path in self._text), strict=True)
        return [Refused(**dict(zip(names, row, strict=True))) for row in rows]

    def split(self, part: str) -> Array:
        if part not in PARTS:
            raise InputError(f"no split named '{part}'; there are {', '.join(PARTS)}")
        if self._splits is None:
            raise DatasetError(f"{self.path} holds no split")
        return np.flatnonzero(self._splits == PARTS.index(part))

    def gather(self, indices: Array) -> Records:
        if not self.labelled:
            raise DatasetError(f"{self.path} holds no labels")
        indices = in_range(indices, len(self))
        self._refuse_damaged(indices, "arrays")
        ptr, atoms = atoms_of(self.ptr, indices)
        return Records(
            ptr=ptr,
            **{_name(c): self._columns[c.path].take(atoms if c.per_atom else indices, axis=0) for c in ARRAY_COLUMNS},
            extra={_name(c): self._columns[c.path].take(atoms, axis=0) for c in self.extra},
        )

    def check(self, indices: Array) -> None:
        """Check the blocks of these structures, for callers that read :meth:`column` directly.

        Raises
        ------
        DatasetError
            If a block differs from its checksum, or a structure has an unknown element or a periodic cell without volume.
        """
        self._refuse_damaged(np.asarray(indices, dtype=np.int64), "arrays", "text")

    def _refuse_damaged(self, indices: Array, *kinds: str) -> None:
        """Compare blocks with their checksums when they are read for the first time, and refuse impossible structures."""
        blocks = indices // BLOCK_STRUCTURES
        for kind in kinds:
            whole = self._whole[kind]
            if whole.take(blocks).all():
                continue
            new = np.unique(blocks[~whole[blocks]])
            columns, rows = (self.columns, self._columns) if kind == "arrays" else (TEXT_COLUMNS, self._text)
            if self._compare and (faults := faults_of(columns, rows, self.ptr, self._sums, new)):
                raise DatasetError(f"{self.path} is damaged: {faults[0]}\n  see all with:  potstill verify {self.path}")
            if kind == "arrays":
                self._refuse_impossible(new)
            whole[new] = True

    def _refuse_impossible(self, blocks: Array) -> None:
        for block in blocks.tolist():
            start, stop = block * BLOCK_STRUCTURES, min((block + 1) * BLOCK_STRUCTURES, len(self))
            numbers = self._columns["atoms/atomic_numbers"][self.ptr[start] : self.ptr[stop]]
            some = (self._columns[f"structures/{name}"][start:stop] for name in ("cell", "pbc"))
            if fault := impossible(numbers, self.ptr[start : stop + 1] - self.ptr[start], *some):
                raise DatasetError(f"{self.path}: structure {self.ids[start + fault[0]]} {fault[1]}")

    def verify(self) -> list[str]:
        """Read everything and return the faults; the list is empty if every checksum and count is right."""
        faults = []
        with h5py.File(self.path, "r") as file:
            stated = json.loads(file.attrs.get("checksums", "{}"))
            if not stated:
                return [f"it states no checksums; write them:  potstill dataset subset {self.path} NEW.h5"]
            found = dict(datasets_of(file))
            faults += [f"{name} is missing" for name in sorted(set(stated) - set(found))]
            faults += [f"{name} has no checksum" for name in sorted(set(found) - set(stated))]
            for name in sorted(set(stated) & set(found)):
                if checksum(found[name]) != stated[name]:
                    faults.append(f"{name} differs from its checksum")
        return faults


class _Texts(Mapping[str, Array]):
    """Columns of text by path, each read when it is first asked for."""

    def __init__(self, file: Path, paths: Sequence[str]) -> None:
        self._file = file
        self._read: dict[str, Array | None] = dict.fromkeys(paths)

    def read_all(self, file: h5py.File) -> None:
        """Read every column of the open file."""
        self._read = {path: file[path].asstr()[:] for path in self._read}

    def __getitem__(self, path: str) -> Array:
        rows = self._read[path]
        if rows is None:
            try:
                with h5py.File(self._file, "r") as file:
                    rows = self._read[path] = file[path].asstr()[:]
            except (OSError, UnicodeDecodeError) as error:
                raise DatasetError(f"{self._file}: {path} is damaged: {error}") from error
        return rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._read)

    def __len__(self) -> int:
        return len(self._read)


def open_file(path: Path | str) -> Dataset:
    """Open a dataset file, or the ``dataset.h5`` of a run folder, for reading.

    Raises
    ------
    InputError, DatasetError
        As :class:`Dataset`; and if it is a folder of several files.
    """
    path = Path(path)
    if path.is_dir():
        refuse_several(path)
        path /= "dataset.h5"
    return Dataset(path)


def refuse_several(folder: Path) -> None:
    """Refuse a folder of dataset files where one file is needed.

    Raises
    ------
    InputError
        If the folder holds dataset files and no ``dataset.h5``.
    """
    files = [] if (folder / "dataset.h5").exists() else h5_files(folder)
    if files:
        raise InputError(
            f"{folder} is a folder of {several(len(files), 'dataset file')}, and one file is expected\n"
            f"  name one, such as {quoted(files[0])}, or join them:  potstill dataset merge FILE... OUT.h5"
        )


def _view(dataset: h5py.Dataset, memory: mmap.mmap) -> Array:
    """Return an HDF5 dataset as a read-only array in the mapped file."""
    if dataset.size == 0:
        return np.zeros(dataset.shape, dataset.dtype)
    offset = dataset.id.get_offset()
    if offset is None:  # chunked or compressed by another program: plain read
        return np.asarray(dataset[:])
    return np.frombuffer(memory, dataset.dtype, dataset.size, offset).reshape(dataset.shape)


def _units(stated: object) -> object:
    """Return the units that a file states, as JSON where they are."""
    try:
        return json.loads(str(stated))
    except ValueError:
        return stated


def _name(column: Column) -> str:
    return column.path.rsplit("/", 1)[1]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
