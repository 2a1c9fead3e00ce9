"""The frames of one file, whatever its format, read when they are asked for.

XYZ, CIF and SDF are cut into pieces and parsed piece by piece; dataset files are memory-mapped; a format of one
structure is read when that is asked for. Any other file, such as a trajectory of another program, is read once and held.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from potstill.core.types import Structure
from potstill.dataset.inputs.atoms import frame_from
from potstill.dataset.inputs.cif import cif_spans, parse_cif
from potstill.dataset.inputs.compared import COMPARED, refuse_unchecked
from potstill.dataset.inputs.converged import on_convergence
from potstill.dataset.inputs.crystals import by_pymatgen
from potstill.dataset.inputs.cut import FORMATS as CUT_FORMATS
from potstill.dataset.inputs.cut import without_cut_frame
from potstill.dataset.inputs.door import XYZ_ENDINGS, head_of, refuse_at_door
from potstill.dataset.inputs.first_labels import PLAIN
from potstill.dataset.inputs.foreign import facts_of_program, on_charge
from potstill.dataset.inputs.lammps import data_frame, dump_frames, is_data_file, is_dump_file
from potstill.dataset.inputs.misread import KEYWORDS, MISREAD, on_keywords, refuse_misread
from potstill.dataset.inputs.mixed import refuse_mixed
from potstill.dataset.inputs.options import DEFAULT, ReadOptions
from potstill.dataset.inputs.pdb import pdb_frames
from potstill.dataset.inputs.poscar import poscar_frame
from potstill.dataset.inputs.programs import cp2k_frame, gromacs_frames
from potstill.dataset.inputs.rows import database_frames
from potstill.dataset.inputs.several import refuse_several
from potstill.dataset.inputs.spelled import SPELLINGS, spelled
from potstill.dataset.inputs.texts import Spans, TextKind, parse_sdf, sdf_spans
from potstill.dataset.inputs.unusable import (
    BYTE_ORDER_MARK,
    COMPRESSED,
    NOT_THAT,
    Frame,
    UnusableError,
    as_text,
    content_of,
    ending_of,
    plain_file,
    quiet,
    text_of,
)
from potstill.dataset.inputs.xyz import parse_xyz, xyz_spans

XYZ = TextKind(XYZ_ENDINGS, xyz_spans, parse_xyz)
TEXT_KINDS = (
    XYZ,
    TextKind((".cif", ".mcif"), cif_spans, parse_cif, "latin1"),
    TextKind((".sdf", ".sd", ".mol"), sdf_spans, parse_sdf),
)
PDB = (".pdb", ".ent")
DATASETS = (".h5", ".hdf5")
DATABASES = (".db", ".aselmdb")
SINGLE: dict[str, Callable[[Path, ReadOptions], Frame]] = {
    "vasp": poscar_frame,
    "lammps-data": data_frame,
    "cp2k-restart": cp2k_frame,
}
SEVERAL: dict[str, Callable[[Path, ReadOptions], Iterator[Frame | Exception]]] = {
    "gromacs": gromacs_frames,
    "lammps-dump-text": dump_frames,
}
USUAL = {".nw": "nwchem-in"}  # endings that ASE does not know
GUESSING = frozenset(
    {"netcdftrajectory", "cp2k-dcd", "lammps-dump-binary", "gromos", "dlp4", "dlp-history", "gpumd", "cmdft", "xtd"}
)
TRIED = frozenset({"traj", "json", "xsf", "extxyz", "xyz", "vasp-xdatcar", "cif"})  # rows of the table in the docs
CHECKED = TRIED & (KEYWORDS.keys() | MISREAD.keys())
PERIODIC = frozenset({"eon"})  # whose programs know no other structures, and whose readers set no pbc
ONETEP = re.compile(r"^[ \t]*%block[ \t]+(species|lattice_cart|positions_abs)\b", re.MULTILINE | re.IGNORECASE)
NO_JSON = (
    "the JSON is neither a database of ASE nor one Structure of pymatgen; write its structures as extended XYZ, "
    "such as ase.io.write('a.extxyz', [s.to_ase_atoms() for s in structures])"
)
NOTHING_FOUND = (
    "ASE takes the file for '{}', and finds no structure in it; an input or output of another program is not read: write "
    "its structures as extended XYZ"
)
NOT_RECOGNISED = (
    "neither ASE nor pymatgen recognises the format by name and content; give the file the usual name or ending of its "
    "format, such as POSCAR, geometry.in, .restart or .extxyz"
)
CELL_FOUND = "the frame has a cell, and the first one of the file has the same atoms in none: write Lattice into each"
AS_XYZ = "; write its structures as extended XYZ"
SPECIES_UNUSED = "the file names its elements, and the option species is not used"
SAYS_CELL = ("Lattice", "CELL(")
CELL_LOST = "the frame has no cell, and the first one of the file has the same atoms in one: write Lattice into each"
NO_READER = {  # by words in the head of a file
    "#VESTA_FORMAT": "a .vesta is not read; export the structure in VESTA as CIF or POSCAR",
    "BEGIN_CFG": "a .cfg of MLIP states types, not elements, and no reader is known; write its structures as extended XYZ",
}


class Frames(Protocol):
    """Frames of one file."""

    def __len__(self) -> int:
        """Return the number of frames, at least one."""
        ...

    def frame(self, k: int) -> Frame:
        """Return one frame; any exception says why there is none."""
        ...


def open_frames(path: Path, options: ReadOptions = DEFAULT) -> Frames:
    """Open a file by the ending of its name, or as the format that ASE recognises.

    Raises
    ------
    UnusableError
        If the file is empty, or no reader knows it. A reader may raise anything else.
    """
    refuse_at_door(path)
    if path.stat().st_size == 0:
        raise UnusableError("empty_file", "the file is empty")
    if path.suffix in DATASETS:
        return DatasetFrames(path)
    kind = next((kind for kind in TEXT_KINDS if ending_of(path) in kind.endings), None)
    if path.suffix in DATABASES:
        return _held(database_frames(path, options))
    if ending_of(path) in PDB:
        return _held(pdb_frames(text_of(path, "latin1"), options))
    return TextFrames(path, kind, options) if kind else _foreign(path, options)


class TextFrames:
    """Pieces of a text file, parsed one at a time."""

    def __init__(self, path: Path, kind: TextKind, options: ReadOptions) -> None:
        self._path, self._kind, self._options = path, kind, options
        self._first: Structure | None = None
        head = head_of(path)
        self._old_mac = b"\r" in head and b"\n" not in head
        with self._open() as file:
            self._spans: Spans = kind.spans(file)
        if not self._spans:
            raise UnusableError("empty_file", "the file holds nothing but white space")

    def __len__(self) -> int:
        return len(self._spans)

    def frame(self, k: int) -> Frame:
        frame = self._parsed(k)
        if k == 0 or frame.ours or ".xyz" not in self._kind.endings or not self._is_first_of_other_pbc(frame.structure):
            return frame
        return frame.with_remarks(CELL_FOUND if frame.structure.pbc.any() else CELL_LOST)

    def _parsed(self, k: int) -> Frame:
        with quiet():
            return self._kind.parse(self._text(k), self._options)

    def _text(self, k: int) -> str:
        start, stop = self._spans[k]
        with self._open() as file:
            file.seek(start)
            content = file.read(stop - start).removeprefix(BYTE_ORDER_MARK)
        return str(content.decode(self._kind.encoding, errors="replace"))

    def _is_first_of_other_pbc(self, other: Structure) -> bool:
        """Return whether one of the first frame and another of the same atoms is periodic, and the other is not.

        A single atom that is not periodic may be an isolated one, beside a crystal of it.
        """
        if self._first is None:
            comment = "".join(self._text(0).splitlines()[1:2])
            if any(word in comment for word in SAYS_CELL) == bool(other.pbc.any()):
                return False  # without reading it
            try:
                self._first = self._parsed(0).structure
            except Exception:  # noqa: BLE001 - the first frame may be the faulty one
                return False
        if bool(self._first.pbc.any()) == bool(other.pbc.any()) or (len(other) == 1 and other.pbc.any()):
            return False
        return np.array_equal(self._first.atomic_numbers, other.atomic_numbers)

    def _open(self) -> Any:
        if self._old_mac:
            return io.BytesIO(content_of(self._path).replace(b"\r", b"\n"))
        if self._path.suffix in COMPRESSED:
            return io.BytesIO(content_of(self._path))
        return self._path.open("rb")


class DatasetFrames:
    """Structures of a dataset file."""

    def __init__(self, path: Path) -> None:
        from potstill.dataset import Dataset

        self._dataset = Dataset(path)
        if len(self._dataset) == 0:
            raise UnusableError("empty_file", "the dataset holds no structures")

    def __len__(self) -> int:
        return len(self._dataset)

    def frame(self, k: int) -> Frame:
        return Frame(self._dataset[k], ours=True)


class OneFrame:
    """A format of one structure, read when it is asked for."""

    def __init__(self, path: Path, options: ReadOptions, read: Callable[[Path, ReadOptions], Frame]) -> None:
        self._path, self._options, self._read = path, options, read

    def __len__(self) -> int:
        return 1

    def frame(self, k: int) -> Frame:
        with quiet():
            return self._read(self._path, self._options)


class HeldFrames:
    """All frames of a file that cannot be read in parts; a faulty frame is held as its exception."""

    def __init__(self, frames: list[Frame | Exception]) -> None:
        self._frames = frames

    def __len__(self) -> int:
        return len(self._frames)

    def frame(self, k: int) -> Frame:
        frame = self._frames[k]
        if isinstance(frame, Exception):
            raise frame
        return frame


def _format_of(path: Path) -> Any:
    """Return ASE's description of the format of a file, by its name and content; None where it knows none.

    Raises
    ------
    UnusableError
        ``unknown_format`` for a format that is known to have no reader.
    """
    from ase.io.formats import UnknownFileTypeError, filetype, ioformats

    head = as_text(head_of(path))
    if is_data_file(head):  # by its content: by its name it may be anything
        return ioformats["lammps-data"]
    if is_dump_file(head):
        return ioformats["lammps-dump-text"]
    if ending_of(path) == ".dat" and ONETEP.search(head):
        return ioformats["onetep-in"]
    if said := next((said for start, said in NO_READER.items() if start in head), ""):
        raise UnusableError("unknown_format", said)
    try:
        name = filetype(str(path.absolute()))
    except UnknownFileTypeError:
        name = ""
    return ioformats.get(name) or ioformats.get(USUAL.get(ending_of(path), ""))


def _foreign(path: Path, options: ReadOptions) -> Frames:
    """Return the frames of a file that ASE or pymatgen knows."""
    found = _format_of(path)
    if found is None or not found.can_read:
        return HeldFrames([_only_by_pymatgen(path, options)])
    if found.name in GUESSING:
        raise UnusableError("no_elements", f"the reader of '{found.name}' guesses elements; write extended XYZ instead")
    if found.name in SEVERAL:
        return _held(SEVERAL[found.name](path, options))
    if found.name not in SINGLE and found.name not in TRIED:
        refuse_unchecked(path, found.name)
    refuse_several(path, found.name)
    if found.single:
        read = SINGLE.get(found.name) or (lambda path, options: _single(path, options, found.name))
        return OneFrame(path, options, read)
    if found.name == "json" and _is_ase_json(path):
        return _held(database_frames(path, options))
    return _held(_images(path, options, found.name), NOTHING_FOUND.format(found.name))


def _only_by_pymatgen(path: Path, options: ReadOptions) -> Frame:
    with quiet():
        atoms = by_pymatgen(path)
    if atoms is None:
        raise UnusableError("unknown_format", NOT_RECOGNISED)
    return frame_from(atoms, options)


def _single(path: Path, options: ReadOptions, format_name: str) -> Frame:
    from ase.io import read

    facts, on_labels, on_structure = _facts(path, options, format_name)
    try:
        text = spelled(text_of(path), format_name) if format_name in SPELLINGS else ""
        with plain_file(path, text) as plain:
            atoms: Any = read(plain, format=format_name, do_not_split_by_at_sign=True)
    except UnusableError:
        raise
    except Exception as error:
        atoms = by_pymatgen(path)
        if atoms is None:
            raise _by_ase(format_name, error) from error
    if len(atoms) == 0:
        raise UnusableError("no_atoms", NOTHING_FOUND.format(format_name))
    atoms.info = {**facts, **atoms.info}
    return _completed(frame_from(atoms, options), format_name, on_labels, on_structure)


def _facts(path: Path, options: ReadOptions, format_name: str) -> tuple[dict[str, float], list[str], list[str]]:
    """Return facts about the frames of another program's file, remarks about its labels, and about its structures."""
    unused = [SPECIES_UNUSED] if options.species else []
    if format_name in TRIED and format_name not in CHECKED:
        return {}, [], unused
    text = text_of(path)
    if format_name in TRIED:
        refuse_misread(text, format_name)
        return {}, [], [*on_keywords(text, format_name), *unused]
    facts, remarks = facts_of_program(text, format_name)
    if options.labels:
        refuse_mixed(text, format_name)
    on_structure = [*on_keywords(text, format_name), *on_charge(text, format_name), *unused]
    return facts, [*on_convergence(path, format_name), *remarks], on_structure


def _by_ase(format_name: str, error: Exception) -> UnusableError:
    """Return the refusal of a file at which ASE's reader failed."""
    said = " ".join(f"{type(error).__name__}: {error}".split())[:200].removesuffix(":")
    known = format_name in COMPARED
    return UnusableError("unreadable", f"ASE's reader of '{format_name}' fails: {said}{AS_XYZ if known else NOT_THAT}")


def _completed(frame: Frame, format_name: str, on_labels: list[str], on_structure: list[str]) -> Frame:
    """Return a frame with remarks, and with the program that wrote its labels where the file names no calculator."""
    if frame.labels_of == PLAIN and format_name not in TRIED:
        frame = replace(frame, labels_of=format_name.partition("-")[0])
    return frame.with_remarks(*on_structure, *(on_labels if frame.structure.labels else ()))


def _images(path: Path, options: ReadOptions, format_name: str) -> Iterator[Frame | Exception]:
    from ase.io import iread

    facts, on_labels, on_structure = _facts(path, options, format_name)
    text, cut = without_cut_frame(text_of(path), format_name) if format_name in CUT_FORMATS else ("", None)
    if cut is not None and not text.strip():
        yield cut
        return
    try:
        with plain_file(path, text) as plain:
            for atoms in iread(plain, index=":", format=format_name if text else None, do_not_split_by_at_sign=True):
                try:
                    atoms.info = {**facts, **atoms.info}
                    atoms.pbc = atoms.pbc if format_name not in PERIODIC else True
                    yield _completed(frame_from(atoms, options), format_name, on_labels, on_structure)
                except Exception as fault:  # noqa: BLE001 - of this frame only
                    yield fault
    except Exception as error:
        atoms = by_pymatgen(path)
        if atoms is None and format_name == "json":
            raise UnusableError("unknown_format", NO_JSON) from None
        if atoms is None:
            raise _by_ase(format_name, error) from error
        yield frame_from(atoms, options)
    if cut is not None:
        yield cut


def _held(frames: Iterator[Frame | Exception], nothing: str = "the file holds no structures") -> HeldFrames:
    """Hold the frames up to the one that ends the reading, and that one's exception; ``nothing`` states that none came."""
    held: list[Frame | Exception] = []
    with quiet():
        try:
            held.extend(frames)
        except Exception as error:  # noqa: BLE001 - a foreign reader may raise anything
            held.append(error)
    return HeldFrames(held or [UnusableError("no_atoms", nothing)])


def _is_ase_json(path: Path) -> bool:
    """Return whether a JSON file is a database of ASE, and not a single object of ASE or pymatgen."""
    return '"nextid"' in text_of(path)
