"""The frames of one file, whatever its format, read when they are asked for.

XYZ, CIF and SDF are cut into pieces and parsed piece by piece; dataset files are memory-mapped; a format of one structure
is read when that is asked for. What is left, such as a trajectory of another program, is read once and held.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from potstill.core.types import Structure
from potstill.generate.texts import TEXT_KINDS, Spans, TextKind, check_poscar
from potstill.generate.unusable import UnusableError, quiet, structure_from

COMPRESSED: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
CHECKS = {"vasp": check_poscar}  # of single structures, by the name of ASE's format
DECODED = (".json", ".mson", ".yaml", ".yml")  # in names of files that pymatgen would build any object from
DATASETS = (".h5", ".hdf5")
DATABASES = (".db", ".aselmdb")


class Frames(Protocol):
    """Frames of one file."""

    def __len__(self) -> int:
        """At least one."""
        ...

    def frame(self, k: int) -> Structure:
        """Without id and labels; whatever it raises says why there is none."""
        ...


def open_frames(path: Path) -> Frames:
    """Frames of a file, by the ending of its name and what ASE makes of it.

    Raises
    ------
    UnusableError
        If the file is empty, or no reader knows it. A reader may raise anything else.
    """
    if not path.is_file():
        raise UnusableError("not_a_file", "a link that leads nowhere" if path.is_symlink() else "not a plain file")
    if path.stat().st_size == 0:
        raise UnusableError("empty_file", "the file is empty")
    name = path.with_suffix("") if path.suffix in COMPRESSED else path
    if path.suffix in DATASETS:
        return DatasetFrames(path)
    kind = next((kind for kind in TEXT_KINDS if name.suffix.lower() in kind.endings), None)
    return TextFrames(path, kind) if kind else _foreign(path)


class TextFrames:
    """Pieces of a text file, parsed one at a time."""

    def __init__(self, path: Path, kind: TextKind) -> None:
        self._path, self._kind = path, kind
        with self._open() as file:
            self._spans: Spans = kind.spans(file)
        if not self._spans:
            raise UnusableError("empty_file", "the file holds nothing but white space")

    def __len__(self) -> int:
        return len(self._spans)

    def frame(self, k: int) -> Structure:
        start, stop = self._spans[k]
        with self._open() as file:
            file.seek(start)
            text = file.read(stop - start).decode(self._kind.encoding, errors="replace")
        with quiet():
            return self._kind.parse(text)

    def _open(self) -> Any:
        if self._path.suffix in COMPRESSED:
            return io.BytesIO(_decompressed(self._path, self._path.stat().st_mtime_ns))
        return self._path.open("rb")


class DatasetFrames:
    """Structures of a dataset file, with their families and without their labels."""

    def __init__(self, path: Path) -> None:
        from potstill.dataset import Dataset

        self._dataset = Dataset(path)
        if len(self._dataset) == 0:
            raise UnusableError("empty_file", "the dataset holds no structures")

    def __len__(self) -> int:
        return len(self._dataset)

    def frame(self, k: int) -> Structure:
        return self._dataset[k].with_(id="", source="", labels=None)


class OneFrame:
    """A format of one structure, read when it is asked for."""

    def __init__(self, path: Path, format_name: str) -> None:
        self._path, self._check = path, CHECKS.get(format_name)

    def __len__(self) -> int:
        return 1

    def frame(self, k: int) -> Structure:
        from ase.io import read

        if self._check and self._path.suffix not in COMPRESSED:
            self._check(self._path.read_text(encoding="utf-8", errors="replace"))
        with quiet():
            try:
                atoms = read(self._path, do_not_split_by_at_sign=True)
            except Exception:
                atoms = _by_pymatgen(self._path)
                if atoms is None:
                    raise
            return structure_from(atoms)


class HeldFrames:
    """All frames of a file that cannot be read in parts; a frame that is no structure is held as why it is none."""

    def __init__(self, frames: list[Structure | Exception]) -> None:
        self._frames = frames

    def __len__(self) -> int:
        return len(self._frames)

    def frame(self, k: int) -> Structure:
        frame = self._frames[k]
        if isinstance(frame, Exception):
            raise frame
        return frame


def _foreign(path: Path) -> Frames:
    """Frames of a file that ASE or pymatgen knows."""
    from ase.io.formats import UnknownFileTypeError, filetype, ioformats

    if path.suffix in DATABASES:
        return HeldFrames(list(_until_it_fails(_database(path))))
    try:
        found = ioformats.get(filetype(str(path.absolute())))
    except UnknownFileTypeError:
        found = None
    if found is None or not found.can_read:
        atoms = _by_pymatgen(path)
        if atoms is None:
            raise UnusableError("unknown_format", "neither ASE nor pymatgen knows this format")
        return HeldFrames([structure_from(atoms)])
    return OneFrame(path, found.name) if found.single else HeldFrames(list(_until_it_fails(_images(path))))


def _database(path: Path) -> Iterator[Structure | Exception]:
    from potstill.dataset.convert import read_structures

    for structure in read_structures(path):
        yield structure.with_(id="", source="", labels=None)


def _images(path: Path) -> Iterator[Structure | Exception]:
    from ase.io import iread

    try:
        for atoms in iread(path, index=":", do_not_split_by_at_sign=True):
            try:
                yield structure_from(atoms)
            except Exception as fault:  # noqa: BLE001 - of this frame only
                yield fault
    except Exception:
        atoms = _by_pymatgen(path)
        if atoms is None:
            raise
        yield structure_from(atoms)


def _until_it_fails(frames: Iterator[Structure | Exception]) -> Iterator[Structure | Exception]:
    """Frames up to the one that ends the reading, and why it did."""
    found = False
    with quiet():
        try:
            for frame in frames:
                found = True
                yield frame
        except Exception as error:  # noqa: BLE001 - a foreign reader may raise anything
            yield error
            return
    if not found:
        yield UnusableError("no_atoms", "the file holds no structures")


def _by_pymatgen(path: Path) -> Any:
    """ASE ``Atoms`` by pymatgen; None where it is not installed or does not read the file."""
    try:
        from pymatgen.core import Structure as Crystal

        if path.suffix == ".json":
            data = json.loads(path.read_text(encoding="utf-8"))
            crystal = Crystal.from_dict(data) if _only_pymatgen(data) else None
        else:
            crystal = None if any(word in path.name.lower() for word in DECODED) else Crystal.from_file(str(path))
    except Exception:  # noqa: BLE001 - what ASE said of the file is what the user is told
        return None
    if crystal is not None and not crystal.is_ordered:
        raise UnusableError("disordered", "sites are occupied in part")
    return None if crystal is None else crystal.to_ase_atoms()


def _only_pymatgen(data: Any) -> bool:
    """Whether JSON names no class but pymatgen's: its decoder imports whatever module is named."""
    if isinstance(data, list):
        return all(map(_only_pymatgen, data))
    if not isinstance(data, dict):
        return True
    return str(data.get("@module", "pymatgen.")).startswith("pymatgen.") and all(map(_only_pymatgen, data.values()))


@lru_cache(maxsize=2)
def _decompressed(path: Path, _mtime_ns: int) -> bytes:
    with COMPRESSED[path.suffix](path, "rb") as file:
        return bytes(file.read())
