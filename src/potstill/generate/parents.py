"""Parents: the structures that a derived source starts from, found without reading all of them.

Takes the structures of earlier sources and returns an order of them. A child keeps its parent's family and SMILES.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from potstill.core.types import Array, Refused, Structure
from potstill.dataset import Dataset
from potstill.generate.source import SourceOptions

INHERITED = ("smiles", "atom_pair")  # facts that the audit reads and a displacement does not change
NO_PARENT = Refused("no_parent", "the earlier sources made no structure to start from")


class DerivedOptions(SourceOptions, ABC):
    """Options of a source that starts from the structures of earlier sources."""

    parents: Annotated[
        tuple[str, ...], Field(description="names of the sources to start from; all earlier ones where empty")
    ] = ()

    @property
    def derived(self) -> bool:
        return True

    def order(self, parents: Sequence[Structure], seed: int, *, crystals: bool = False) -> Array:
        """Return (p,) indices of the usable parents, or of the crystals among them, in random order."""
        if isinstance(parents, Dataset):
            return _order_in_file(parents, self.parents, seed, crystals)
        periodic = np.array([parent.pbc.all() for parent in parents], dtype=bool)
        return _shuffled([parent.source for parent in parents], periodic, self.parents, seed, crystals)


def child_of(parent: Structure, positions: Array, cell: Array, metadata: dict[str, Any]) -> Structure:
    """Return an unlabelled copy of a parent with the same atoms at other positions, of the same family."""
    known = parent.generator_metadata
    inherited = {key: known[key] for key in INHERITED if key in known}
    return parent.with_(
        positions=positions, cell=cell, labels=None, generator_metadata={"parent": parent.id, **metadata, **inherited}
    )


def open_parents(path: Path) -> Dataset:
    """Open the file of all parents once per process while it does not change, because its texts are read as a whole."""
    state = path.stat()
    return _open(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=1)
def _open(path: Path, _mtime_ns: int, _size: int) -> Dataset:
    return Dataset(path)


@lru_cache(maxsize=4)
def _order_in_file(parents: Dataset, names: tuple[str, ...], seed: int, crystals: bool) -> Array:
    periodic = np.asarray(parents.column("structures/pbc").all(axis=1))
    return _shuffled(parents.sources.tolist(), periodic, names, seed, crystals)


def _shuffled(sources: list[str], periodic: Array, names: tuple[str, ...], seed: int, crystals: bool) -> Array:
    eligible = [k for k, source in enumerate(sources) if not names or source in names]
    order = np.random.default_rng(seed).permutation(np.array(eligible, dtype=np.int64))
    return order[periodic[order]] if crystals else order
