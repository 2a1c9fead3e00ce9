"""Functions that merge datasets and that write a part of a dataset; both stream files of any size.

The input is files of schema 1, the output a sealed file of schema 1.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from potstill.core.errors import DatasetError, InputError
from potstill.core.files import sealed
from potstill.core.types import Array
from potstill.dataset.merging import copy, merge
from potstill.dataset.options import SplitConfig
from potstill.dataset.read import Dataset
from potstill.dataset.schema import PARTS, TEXT_COLUMNS, open_for_writing
from potstill.dataset.split import split_by_family
from potstill.dataset.write import Writer, bytes_expected

log = logging.getLogger(__name__)
EXAMPLES = 5
ADDED_UP = ("label_seconds", "label_worker_seconds")
THEIRS = ("teacher", "potstill", "workers")  # kept where all files agree


@dataclass(frozen=True, slots=True)
class Choice:
    """Conditions that choose structures of a dataset; all of them apply, in the order of the fields.

    Parameters
    ----------
    sources
        Names of sources; empty for all.
    elements
        Atomic numbers; structures with any other element are left out. Empty for all.
    max_atoms
        Largest number of atoms, or None.
    part
        ``"train"``, ``"valid"`` or ``"test"``, or None.
    sample
        Number of structures drawn at random, in the order of the file, or None.
    first
        Number of structures taken from the start of the remaining ones, or None.
    seed
        Seed of the random sample.
    """

    sources: tuple[str, ...] = ()
    elements: frozenset[int] = frozenset()
    max_atoms: int | None = None
    part: str | None = None
    sample: int | None = None
    first: int | None = None
    seed: int = 0


def merge_datasets(
    paths: Sequence[Path],
    target: Path,
    *,
    split: SplitConfig,
    seed: int,
    attributes: Mapping[str, Any] | None = None,
    replace: bool = False,
    rename: bool = False,
) -> str:
    """Write the structures and refusals of several datasets as one.

    If all datasets hold a split, families are divided again, so that each family is in one part. Otherwise the
    result has no split.

    Parameters
    ----------
    paths
        Files in the order of their structures in the result.
    target
        The file to make.
    split, seed
        Shares of the families, and seed, of the new split.
    attributes
        Attributes of the file, added to those in which all files agree; attributes given here take precedence.
    replace
        Whether the target may exist.
    rename
        Whether all ids get the number of their file as a prefix, as ``2/``, so that none occurs twice.

    Returns
    -------
    str
        One sentence about the split.

    Raises
    ------
    InputError
        If the target exists and is not to be replaced.
    DatasetError
        If teachers differ, some files have labels and others not, an id occurs twice, or a file is damaged.
    """
    if not replace:
        _refuse_existing(target)
    families: list[str] = []
    elements: list[frozenset[int]] = []
    owner: dict[str, Path] = {}
    theirs: list[dict[str, Any]] = []
    all_split = True
    for path in paths:
        dataset = Dataset(path)
        _refuse_other_labels(dataset, path, theirs[0] if theirs else None, paths[0])
        theirs.append({**dataset.attributes, "labelled": dataset.labelled})
        if not rename:
            _refuse_known_ids(dataset, owner)
        families += dataset.families.tolist()
        elements += _elements_of(dataset)
        all_split &= dataset.splits is not None
    splits = None
    if all_split:
        shares = {"valid_fraction": split.valid_fraction, "test_fraction": split.test_fraction}
        splits = split_by_family(families, elements, **shares, seed=seed)
    _tell_unknown_methods(theirs)
    prefixes = [f"{k}/" for k in range(1, len(paths) + 1)] if rename else None
    merge(paths, target, attributes={**_common(theirs, paths), **(attributes or {})}, splits=splits, prefixes=prefixes)
    if splits is None:
        return "without a split, because not every file has one"
    counts = ", ".join(f"{int((splits == k).sum())} {name}" for k, name in enumerate(PARTS))
    return f"families divided anew: {counts}"


def choose(dataset: Dataset, choice: Choice) -> Array:
    """Return (k,) indices of the chosen structures, ascending.

    Raises
    ------
    InputError
        If a source is unknown, or nothing is left.
    """
    kept = np.ones(len(dataset), dtype=bool)
    if choice.sources:
        known = sorted(set(dataset.sources.tolist()))
        if unknown := sorted(set(choice.sources) - set(known)):
            raise InputError(f"{dataset.path} has no source {', '.join(unknown)}; it has {', '.join(known)}")
        kept &= np.isin(dataset.sources.astype(str), choice.sources)
    if choice.elements:
        kept &= _only(dataset, choice.elements)
    if choice.max_atoms is not None:
        kept &= np.diff(dataset.ptr) <= choice.max_atoms
    if choice.part is not None:
        kept &= np.isin(np.arange(len(dataset)), dataset.split(choice.part))
    indices = np.flatnonzero(kept)
    if choice.sample is not None and choice.sample < len(indices):
        indices = np.sort(np.random.default_rng(choice.seed).choice(indices, choice.sample, replace=False))
    if choice.first is not None:
        indices = indices[: choice.first]
    if not len(indices):
        raise InputError(f"no structure of {dataset.path} is left by this choice")
    return indices


def write_subset(dataset: Dataset, indices: Array, target: Path) -> None:
    """Write some structures with their part of the split; refusals are not written.

    Raises
    ------
    InputError
        If the target exists.
    DatasetError
        If a block of the file differs from its checksum.
    """
    _refuse_existing(target)
    n_atoms = int((dataset.ptr[indices + 1] - dataset.ptr[indices]).sum())
    texts = (dataset.text(column.path)[indices] for column in TEXT_COLUMNS)
    expected = bytes_expected(len(indices), n_atoms, texts, dataset.extra)
    with sealed(target) as temporary, open_for_writing(temporary, expected) as file:
        writer = Writer(file, len(indices), n_atoms, labelled=dataset.labelled, extra=dataset.extra)
        copy(dataset, indices, writer)
        splits = None if dataset.splits is None else dataset.splits[indices]
        writer.finish(attributes=_subset_attributes(dataset), splits=splits)


def _refuse_existing(target: Path) -> None:
    if target.exists():
        raise InputError(f"{target} exists already; give another name or remove it")


def _refuse_other_labels(dataset: Dataset, path: Path, first: dict[str, Any] | None, first_path: Path) -> None:
    if first is None:
        return
    if dataset.labelled != first["labelled"]:
        with_, without = (path, first_path) if dataset.labelled else (first_path, path)
        raise DatasetError(f"{with_} has labels and {without} has none: label the latter first")
    ours, theirs = first.get("teacher"), dataset.attributes.get("teacher")
    if dataset.labelled and ours != theirs:
        raise DatasetError(
            "the files were labelled by different teachers:\n"
            f"  {first_path}: {ours or 'no teacher is named'}\n  {path}: {theirs or 'no teacher is named'}\n"
            "  label one of them again with the teacher of the other"
        )


def _tell_unknown_methods(attributes: Sequence[dict[str, Any]]) -> None:
    """Log that labels of the user's own may be of several methods where the files name none."""
    teachers = [json.loads(a.get("teacher") or "{}") for a in attributes if a["labelled"]]
    unnamed = sum(not teacher or (teacher.get("name") == "given" and not teacher.get("weights")) for teacher in teachers)
    if unnamed > 1:
        log.warning(
            "%d of the files do not state the method of their labels, so that it was not compared: labels of two methods "
            "contradict each other. State it as label.teacher.method",
            unnamed,
        )


def _refuse_known_ids(dataset: Dataset, owner: dict[str, Path]) -> None:
    """Add the ids of a file to the known ids; raise DatasetError if one is known already."""
    twice: list[str] = []
    for name in dataset.ids.tolist():
        if name in owner:
            twice.append(f"{name} (also in {owner[name]})")
        owner[name] = dataset.path
    if twice:
        raise DatasetError(
            f"{dataset.path}: {len(twice)} ids occur twice, among them {', '.join(twice[:EXAMPLES])}\n"
            "  ids must be unique in a dataset: leave one of the files out, or give all of them new ids by  --rename\n"
            "  (the numbers of the files before them; two seeds of one config give the same ids)"
        )


def _elements_of(dataset: Dataset) -> list[frozenset[int]]:
    numbers = dataset.column("atoms/atomic_numbers")
    known: dict[bytes, frozenset[int]] = {}  # there are few combinations of elements for many structures
    found = []
    for a, b in zip(dataset.ptr[:-1].tolist(), dataset.ptr[1:].tolist(), strict=True):
        row = numbers[a:b].tobytes()
        kind = bytes(sorted(set(row)))
        found.append(known.setdefault(kind, frozenset(kind)))
    return found


def _common(attributes: Sequence[dict[str, Any]], paths: Sequence[Path]) -> dict[str, Any]:
    """Return the attributes of the merged file: sums of times, values equal in all files, and the merged files."""
    shared = {
        name: attributes[0][name]
        for name in THEIRS
        if all(name in a and a[name] == attributes[0].get(name) for a in attributes)
    }
    summed = {name: sum(float(a[name]) for a in attributes) for name in ADDED_UP if all(name in a for a in attributes)}
    return {**shared, **summed, "merged_from": [path.name for path in paths]}


def _only(dataset: Dataset, elements: frozenset[int]) -> Array:
    """Return (S,) bool, true for structures that contain only these elements."""
    allowed = np.zeros(256, dtype=bool)
    allowed[list(elements)] = True
    numbers = dataset.column("atoms/atomic_numbers")
    return np.logical_and.reduceat(allowed[numbers], dataset.ptr[:-1]) if len(dataset) else np.zeros(0, dtype=bool)


def _subset_attributes(dataset: Dataset) -> dict[str, Any]:
    kept: dict[str, Any] = {name: dataset.attributes[name] for name in ("teacher", "potstill") if name in dataset.attributes}
    return {**kept, "subset_of": dataset.path.name}
