"""Several dataset files read as one: parts of a run that is not merged yet, or batches labelled one after another."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from potstill.core.errors import DatasetError, InputError
from potstill.core.files import h5_files
from potstill.core.types import Array, Refused, Structure
from potstill.dataset.read import Dataset, open_file
from potstill.dataset.records import Records, in_range, parts_of
from potstill.dataset.schema import PARTS
from potstill.dataset.sequence import StructureSequence

SAME = ("teacher",)  # attributes in which files must agree


class Shards(StructureSequence):
    """Dataset files side by side, in the order of their names; none of them is copied.

    Parameters
    ----------
    paths
        Files of schema 1, all labelled or none.

    Raises
    ------
    InputError
        If there is no file.
    DatasetError
        If one is damaged, some have labels and others not, their teachers or further columns differ, or a structure is in
        two of them.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        if not paths:
            raise InputError("no dataset files were given")
        self.files = [Dataset(path) for path in sorted(paths)]
        self._first = np.cumsum([0, *map(len, self.files)])
        first = self.files[0]
        for file in self.files[1:]:
            if file.labelled != first.labelled:
                raise DatasetError(f"of {first.path} and {file.path} one has labels and the other has none")
            if file.labelled and file.extra != first.extra:
                said = [f"{f.path} has {', '.join(c.path for c in f.extra) or 'nothing'}" for f in (first, file)]
                raise DatasetError(f"beside the labels {' and '.join(said)}: label them with the same label.extra")
            for name in SAME:
                if file.attributes.get(name) != first.attributes.get(name):
                    raise DatasetError(f"{first.path} and {file.path} were labelled by different teachers")
        names, counts = np.unique(self.ids.astype(str), return_counts=True)
        if (counts > 1).any():
            raise DatasetError(f"structure {names[counts > 1][0]} is in these files more than once")

    def __len__(self) -> int:
        return int(self._first[-1])

    @property
    def labelled(self) -> bool:
        return self.files[0].labelled

    def _structure(self, k: int) -> Structure:
        file = int(np.searchsorted(self._first, k, side="right")) - 1
        return self.files[file][k - int(self._first[file])]

    def gather(self, indices: Array) -> Records:
        indices = in_range(indices, len(self))
        parts, places = parts_of(self.files, self._first[:-1], indices)
        return Records.join(parts).gather(places) if parts else self.files[0].gather(indices)

    def split(self, part: str) -> Array:
        self._refuse_divided()
        return np.concatenate([f.split(part) + start for f, start in zip(self.files, self._first[:-1], strict=True)])

    def _refuse_divided(self) -> None:
        """Raise DatasetError if a family is in one part in one file and in another part in another file."""
        part_of: dict[str, tuple[int, Path]] = {}
        for file in self.files if len(self.files) > 1 else ():
            if file.splits is None:
                continue  # file.split names the file
            for family, part in sorted(set(zip(file.families.tolist(), file.splits.tolist(), strict=True))):
                other, path = part_of.setdefault(family, (part, file.path))
                if other != part and path != file.path:
                    raise DatasetError(
                        f"the family '{family}' is in {PARTS[other]} of {path} and in {PARTS[part]} of {file.path}\n"
                        "  divide the families of all files at once:  potstill dataset merge FILE... OUT.h5"
                    )

    @cached_property
    def refused(self) -> list[Refused]:
        """Return the refusals of all files."""
        return [refusal for file in self.files for refusal in file.refused]

    @cached_property
    def ids(self) -> Array:
        return np.concatenate([f.ids for f in self.files])

    @cached_property
    def sources(self) -> Array:
        return np.concatenate([f.sources for f in self.files])

    @cached_property
    def families(self) -> Array:
        return np.concatenate([f.families for f in self.files])


def open_dataset(path: Path | str) -> Dataset | Shards:
    """Open a dataset for reading.

    Parameters
    ----------
    path
        A file of schema 1; a run folder, for its ``dataset.h5``; or a folder of such files, which are read as one dataset.

    Raises
    ------
    InputError
        If there is no such file.
    DatasetError
        If one is damaged, or the files of a folder do not fit together.
    """
    path = Path(path)
    files = h5_files(path) if path.is_dir() and not (path / "dataset.h5").exists() else []
    return Shards(files) if files else open_file(path)
