"""Potstill's own file, schema 1. Numbers that are wider than their column, such as float64 positions, are rounded once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from potstill.core.errors import InputError
from potstill.core.types import Structure
from potstill.dataset.formats.format import Format, Precision
from potstill.dataset.inputs.options import DEFAULT, ReadOptions
from potstill.dataset.inputs.unusable import Frame
from potstill.dataset.merging import merge
from potstill.dataset.read import open_file
from potstill.dataset.write import write_part

PART_ATOMS = 100_000  # bounds the memory of a conversion


def read(path: Path, options: ReadOptions = DEFAULT) -> Iterator[Frame]:  # noqa: ARG001 - no option applies
    """Yield the structures of a dataset file."""
    return (Frame(structure, ours=True) for structure in open_file(path))


def write(structures: Iterable[Structure], path: Path) -> None:
    """Write one dataset file; labelled when every structure is."""
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        parts: list[Path] = []
        labelled = None
        for block in _blocks(structures):
            labelled = block[0].labels is not None if labelled is None else labelled
            _refuse_mixture(block, labelled)
            parts.append(Path(folder) / f"{len(parts):06d}.h5")
            write_part(parts[-1], block, labelled=labelled)
        merge(parts, path, attributes={})


FORMAT = Format((".h5", ".hdf5"), read, write, Precision(relative=2.0**-24))


def _blocks(structures: Iterable[Structure]) -> Iterator[list[Structure]]:
    block: list[Structure] = []
    atoms = 0
    for structure in structures:
        block.append(structure)
        atoms += len(structure)
        if atoms >= PART_ATOMS:
            yield block
            block, atoms = [], 0
    if block:
        yield block


def _refuse_mixture(block: list[Structure], labelled: bool) -> None:
    for structure in block:
        if (structure.labels is not None) != labelled:
            one, others = ("no labels", "others have") if labelled else ("labels", "others have none")
            raise InputError(
                f"{structure.id} has {one}, {others}; a dataset file holds labels of all structures or of none\n"
                "  label the rest, or take the file as a source 'files' of a run with  labels: true, which leaves those out"
            )
