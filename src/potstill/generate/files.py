"""Files: the user's own structures, from files of any format that ASE or pymatgen reads, folders of them, or datasets.

An entry that gives no structure is refused with its name and a reason; all others are used.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from potstill.core.checksums import sha256_of_file, sha256_of_text
from potstill.core.errors import InputError, MissingExtraError
from potstill.core.files import shown
from potstill.core.section import ExistingPath, refuse_unknown_symbols
from potstill.core.types import Array, Refused, Structure
from potstill.dataset.inputs import Frame, Frames, ReadOptions, UnusableError, open_frames
from potstill.dataset.inputs.first_labels import FirstLabels
from potstill.dataset.inputs.labels import NOT_USED
from potstill.generate.source import Kind, SourceOptions, propose_each

MOST_BYTES = 1_000_000_000
SAME_ANGSTROM = 1e-6
FIRST_FRAMES = 3  # of a file, in which the first labels are looked for
COMPANION = re.compile(  # of structure files in the folder of a calculation: settings, sums and jobs, never structures
    r"(INCAR|KPOINTS|POTCAR|OSZICAR|EIGENVAL|DOSCAR|IBZKPT|PCDAT|PROCAR|REPORT|WAVECAR)|slurm-\d+\.(out|err)|.*\.(sh|slurm|pbs|sbatch|py|md|aselmdb-lock|db-journal|db\.lock)|README.*"
)
OF_A_RUN = {"config.yaml", "run.json"}  # in the folder of a run
RUN_FOLDER = "a run folder of potstill is not searched: it contains candidates and copies; name its dataset.h5 under paths"
SHOWN_REFUSALS = 5
LONGEST_DETAIL = 300


class Files(SourceOptions):
    """Structures from the user's own files: every frame, up to ``count``."""

    kind: ClassVar[Kind] = "own"

    source: Literal["files"] = "files"
    paths: Annotated[
        tuple[ExistingPath, ...],
        Field(
            min_length=1,
            description="structure files of any format that ASE or pymatgen reads, folders of them, or datasets",
        ),
    ]
    max_atoms: Annotated[int, Field(gt=0, description="largest number of atoms in a structure")] = 500
    species: Annotated[
        dict[str, str],
        Field(
            description="chemical symbol of each type or atom name, for files that name no elements, such as {1: Si, OW: O}"
        ),
    ] = {}  # noqa: RUF012 - pydantic copies
    ignore_charge: Annotated[
        bool,
        Field(
            description="true: structures with a stated charge or unpaired electrons are labelled as neutral ones; "
            "false: they are refused"
        ),
    ] = False

    labels: Annotated[
        bool,
        Field(
            description="true: energies, forces and stress of the files are used, and frames without them refused; "
            "true where label.teacher is given"
        ),
    ] = False
    energy_key: Annotated[str, Field(description="key of the energy in eV; REF_energy or energy where empty")] = ""
    forces_key: Annotated[str, Field(description="key of the forces in eV/Å; REF_forces or forces where empty")] = ""
    stress_key: Annotated[
        str, Field(description="key of the stress in eV/Å^3, + is tension; REF_stress, stress or virials where empty")
    ] = ""

    @field_validator("species", mode="before")
    @classmethod
    def _types_as_text(cls, species: Any) -> Any:
        return {str(key): value for key, value in species.items()} if isinstance(species, dict) else species

    @field_validator("species")
    @classmethod
    def _known_species(cls, species: dict[str, str]) -> dict[str, str]:
        refuse_unknown_symbols(species.values())
        return species

    @property
    def reading(self) -> ReadOptions:
        """Return how the files are to be read."""
        return ReadOptions(
            species=tuple(self.species.items()),
            energy_key=self.energy_key,
            forces_key=self.forces_key,
            stress_key=self.stress_key,
            ignore_charge=self.ignore_charge,
            labels=self.labels,
        )

    def available(self) -> int | None:
        catalogue = _catalogue(self.paths, self.reading)
        if not any(isinstance(frame, Structure) for frame in catalogue):
            first = (frame for frame in islice(catalogue, SHOWN_REFUSALS) if isinstance(frame, Refused))
            refusals = [f"  {refusal.reason}: {refusal.detail}" for refusal in first]
            more = f"\n  … {len(catalogue) - SHOWN_REFUSALS} more" if len(catalogue) > SHOWN_REFUSALS else ""
            raise InputError(f"the source '{self.name}' cannot read any structure:\n" + "\n".join(refusals) + more)
        return len(catalogue)

    def has(self, index: int, structure: Structure) -> bool:
        """Return whether the candidate of an index is a structure: the same atoms at the same places."""
        catalogue = _catalogue(self.paths, self.reading)
        frame = catalogue[index] if index < len(catalogue) else None
        return (
            isinstance(frame, Structure)
            and np.array_equal(frame.atomic_numbers, structure.atomic_numbers)
            and np.allclose(frame.positions, structure.positions, rtol=0.0, atol=SAME_ANGSTROM)
            and np.allclose(frame.cell, structure.cell, rtol=0.0, atol=SAME_ANGSTROM)
        )

    def propose(self, indices: Sequence[int], seed: int, parents: Sequence[Structure]) -> list[Structure | Refused]:
        catalogue = _catalogue(self.paths, self.reading)

        def make(index: int, _rng: np.random.Generator) -> Structure | Refused:
            frame = catalogue[index]
            return frame if isinstance(frame, Refused) else self.refuse(frame, origin(frame)) or frame

        return propose_each(self.name, indices, seed, make)


def origin(structure: Structure) -> str:
    """Return ``"name.cif, frame 0"`` for a structure from a file; its formula for any other."""
    known = structure.generator_metadata
    return f"{known['file']}, frame {known['frame']}" if {"file", "frame"} <= set(known) else structure.formula


class Catalogue(Sequence[Structure | Refused]):
    """All frames of all files, in order; a file that cannot be opened is one refusal.

    Parameters
    ----------
    found
        Name and path of each file, or the refusal of an entry that is none.
    options
        Options of reading.
    """

    def __init__(self, found: Iterator[tuple[str, Path] | Refused], options: ReadOptions) -> None:
        self._labels = options.labels
        self._files: list[tuple[str, Frames] | Refused] = [
            entry if isinstance(entry, Refused) else _open(*entry, options) for entry in found
        ]
        lengths = [1 if isinstance(file, Refused) else len(file[1]) for file in self._files]
        self._start: Array = np.cumsum([0, *lengths])

    def __len__(self) -> int:
        return int(self._start[-1])

    def __getitem__(self, index: int) -> Structure | Refused:  # type: ignore[override]
        k = range(len(self))[index]
        at = int(np.searchsorted(self._start, k, side="right")) - 1
        file = self._files[at]
        if isinstance(file, Refused):
            return file
        return _frame(*file, k - int(self._start[at]), self._first_labels if self._labels else None)

    @cached_property
    def _first_labels(self) -> FirstLabels:
        """Find the first labels in the first frames of the files; every worker finds the same."""
        first = FirstLabels()
        for file in self._files:
            if not isinstance(file, Refused) and any(first.know(frame) for frame in _head(file[1])):
                break
        return first


@lru_cache(maxsize=4)
def _catalogue(paths: tuple[Path, ...], options: ReadOptions) -> Catalogue:
    for path in paths:
        if not path.exists():
            raise InputError(f"no structure file or folder at {shown(path)}")
    return Catalogue((entry for path in paths for entry in _files_at(path)), options)


def folder_checksum(folder: Path) -> str:
    """Return one checksum for the files of a folder that the source reads: names and sizes, and contents if they are few.

    Reading more than :data:`MOST_BYTES` at each look at a run would take too long.
    """
    files = [entry for entry in _files_at(folder) if not isinstance(entry, Refused)]
    sizes = [path.stat().st_size for _, path in files]
    whole = sum(sizes) <= MOST_BYTES
    told = [
        f"{name} {size} {sha256_of_file(path) if whole else ''}" for (name, path), size in zip(files, sizes, strict=True)
    ]
    return sha256_of_text("\n".join(sorted(told)))


def _files_at(path: Path) -> Iterator[tuple[str, Path] | Refused]:
    """Yield a file, or the visible files below a folder by name, without companions; links to folders are not followed."""
    if not path.is_dir():
        yield shown(path.name), path
        return
    refused: list[Refused] = []

    def unreadable(error: OSError) -> None:
        refused.append(Refused("unreadable", f"{shown(error.filename)}: {error.strerror}"))

    for root, folders, names in os.walk(path, onerror=unreadable):
        here = Path(root)
        if set(names) >= OF_A_RUN:
            folders.clear()
            yield Refused("run_folder", f"{shown(path.name / here.relative_to(path))}: {RUN_FOLDER}")
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        visible = sorted(name for name in names if not name.startswith("."))
        if not folders and not visible:
            yield Refused("empty_folder", f"{shown(path.name / here.relative_to(path))}: the folder is empty")
        structures = [name for name in visible if not COMPANION.fullmatch(name)]
        if visible and not folders and not structures:
            where = shown(path.name / here.relative_to(path))
            yield Refused("empty_folder", f"{where}: none of its files may hold structures, such as {visible[0]}")
        for name in structures:
            where = shown((here / name).relative_to(path))
            yield (
                (where, here / name)
                if (here / name).exists()
                else Refused("not_a_file", f"{where}: a link without a target")
            )
        for name in folders:
            if (here / name).is_symlink():
                yield Refused(
                    "link_to_folder", f"{shown((here / name).relative_to(path))}: links to folders are not followed"
                )
    yield from refused


def _open(name: str, path: Path, options: ReadOptions) -> tuple[str, Frames] | Refused:
    try:
        return name, open_frames(path, options)
    except Exception as error:  # noqa: BLE001 - a foreign reader may raise anything; one file must not stop a run
        return _refusal(name, error)


def _head(frames: Frames) -> Iterator[Frame]:
    """Yield those of the first frames that are structures."""
    for k in range(min(len(frames), FIRST_FRAMES)):
        with suppress(Exception):  # a foreign reader may raise anything, here of a frame that is refused later
            yield frames.frame(k)


def _frame(name: str, frames: Frames, k: int, first: FirstLabels | None) -> Structure | Refused:
    """Return a structure, with labels where the first ones are given, or its refusal."""
    try:
        frame = frames.frame(k) if first is None else first.compared(frames.frame(k))
    except Exception as error:  # noqa: BLE001 - a foreign reader may raise anything; one frame must not stop a run
        return _refusal(f"{name}, frame {k}", error)
    metadata = {**frame.structure.generator_metadata, "file": name, "frame": k}
    found = frame.structure.labels
    labels = first is not None
    remarks = (*frame.remarks, NOT_USED) if found is not None and not labels else frame.remarks
    if remarks:
        metadata["remarks"] = list(remarks)
    if labels and found is None:
        why = "; ".join(frame.remarks) or "the frame has no energy and forces"
        return Refused("no_labels", f"{name}, frame {k}: {why}"[:LONGEST_DETAIL])
    return frame.structure.with_(id="", source="", labels=found if labels else None, generator_metadata=metadata)


def _refusal(name: str, error: Exception) -> Refused:
    if isinstance(error, UnusableError):
        return Refused(error.reason, f"{name}: {shown(str(error))}")
    reason = "missing_package" if isinstance(error, MissingExtraError) else "unreadable"
    detail = shown(" ".join(f"{type(error).__name__}: {error}".split()))
    return Refused(reason, f"{name}: {detail[:LONGEST_DETAIL]}")
