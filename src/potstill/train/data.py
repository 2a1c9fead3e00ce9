"""Training batches: records with their neighbor lists, read by a thread while the step before is computed."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import torch

from potstill.core.batch import join
from potstill.core.neighbors import Edges, find_neighbors
from potstill.core.types import Array, Batch
from potstill.dataset.records import Records, RecordSource
from potstill.execute import available_cores
from potstill.train.sampler import BatchSampler

BATCHES_AHEAD = 4
STRUCTURES_AT_ONCE = 256  # number of structures in one search for neighbor lists
CACHE_BYTES = 2 * 10**9
Items = Literal["structures", "atoms", "stresses", "products"]  # that the mean of a loss is over


class LabelledAtoms(Protocol):
    """Labels of a batch of S structures and N atoms, with the means that a loss takes over them.

    Fields are those of :class:`LabelledBatch`; ``sizes`` are the (S,) numbers of atoms.
    """

    @property
    def energy(self) -> torch.Tensor: ...
    @property
    def forces(self) -> torch.Tensor: ...
    @property
    def stress(self) -> torch.Tensor: ...
    @property
    def has_stress(self) -> torch.Tensor: ...
    @property
    def weight(self) -> torch.Tensor | None: ...
    @property
    def extra(self) -> Mapping[str, torch.Tensor]: ...
    @property
    def sizes(self) -> torch.Tensor: ...
    @property
    def atomic_numbers(self) -> torch.Tensor: ...
    @property
    def structure(self) -> torch.Tensor: ...

    def mean_over_structures(self, values: torch.Tensor) -> torch.Tensor:
        """Return the mean of (S,) values."""
        ...

    def mean_over_atoms(self, values: torch.Tensor) -> torch.Tensor:
        """Return the mean of (N,) values."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class LabelledBatch:
    """A batch with its labels.

    Parameters
    ----------
    inputs
        Input of the student.
    energy
        (S,) eV, float64.
    forces
        (N, 3) eV/Å.
    stress
        (S, 3, 3) eV/Å^3, zero where ``has_stress`` is False.
    has_stress
        (S,) bool.
    weight
        (S,) weight of each structure's losses; None where all are 1.
    extra
        (N, …) further labels of each atom, by name.
    """

    inputs: Batch
    energy: torch.Tensor
    forces: torch.Tensor
    stress: torch.Tensor
    has_stress: torch.Tensor
    weight: torch.Tensor | None = None
    extra: Mapping[str, torch.Tensor] = field(default_factory=dict)

    @property
    def sizes(self) -> torch.Tensor:
        """Return the (S,) numbers of atoms."""
        return self.inputs.ptr.diff()

    @property
    def atomic_numbers(self) -> torch.Tensor:
        """Return the (N,) atomic numbers."""
        return self.inputs.atomic_numbers

    @property
    def structure(self) -> torch.Tensor:
        """Return the (N,) structure of each atom."""
        return self.inputs.structure

    def numbers(self, chosen: torch.Tensor) -> dict[Items, int]:
        """Return how many items of each kind there are, with (k,) structures whose Hessian products are compared."""
        return {
            "structures": len(self.energy),
            "atoms": len(self.forces),
            "stresses": int(self.has_stress.sum()),
            "products": int(self.sizes[chosen].sum()),
        }

    def mean_over_structures(self, values: torch.Tensor) -> torch.Tensor:
        """Return the mean of (S,) values."""
        return values.mean()

    def mean_over_atoms(self, values: torch.Tensor) -> torch.Tensor:
        """Return the mean of (N,) values."""
        return values.mean()

    def to(self, device: torch.device | str) -> LabelledBatch:
        """Return a copy on another device (Lightning calls it)."""
        labels = {name: getattr(self, name).to(device) for name in ("energy", "forces", "stress", "has_stress")}
        weight = None if self.weight is None else self.weight.to(device)
        extra = {name: rows.to(device) for name, rows in self.extra.items()}
        return LabelledBatch(inputs=self.inputs.to(device), **labels, weight=weight, extra=extra)


class LabelledStructures:
    """Labelled structures as batches, asked for by their indices.

    Neighbor lists are made once, several structures at a time, and kept in a compact form as far as ``cache_bytes`` go;
    the others are made again for each batch.

    Parameters
    ----------
    source
        Records, or a selection of a file that may exceed memory.
    cutoff_angstrom
        Cutoff of the student in Å.
    weights
        (S,) weight of each structure's losses; None where all are 1.
    extra
        Columns of the records' ``extra`` that batches contain.
    cache_bytes
        Largest memory for neighbor lists.

    Attributes
    ----------
    sizes
        (S,) atoms of each structure.
    edges_per_atom
        (S,) mean number of neighbors of an atom.
    """

    def __init__(
        self,
        source: RecordSource,
        cutoff_angstrom: float,
        *,
        weights: Array | None = None,
        extra: Sequence[str] = (),
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._source = source
        self._cutoff = cutoff_angstrom
        self._weights = None if weights is None else torch.from_numpy(weights).float()
        self._extra = extra
        self._kept: dict[int, Edges] = {}
        self._left = cache_bytes
        self.sizes = np.zeros(len(source), dtype=np.int64)
        self.edges_per_atom = np.zeros(len(source))
        starts = range(0, len(source), STRUCTURES_AT_ONCE)
        with ThreadPoolExecutor(available_cores()) as pool:  # the search is in C++ and lets other threads run
            for start, (sizes, edges) in zip(starts, pool.map(self._search, starts), strict=True):
                chunk = slice(start, start + len(sizes))
                self.sizes[chunk] = sizes
                self.edges_per_atom[chunk] = [e.edge_index.shape[1] for e in edges] / sizes
                self._keep(start, edges)

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def cached(self) -> int:
        """Return the number of structures whose neighbor lists are kept."""
        return len(self._kept)

    def __getitem__(self, indices: Array) -> LabelledBatch:
        records = self._source.gather(np.asarray(indices))
        edges = [self._kept.get(int(k)) or self._edges(records, place) for place, k in enumerate(indices)]
        return LabelledBatch(
            inputs=join(records.ptr, records.atomic_numbers, records.positions, records.cell, records.pbc, edges),
            energy=torch.from_numpy(records.energy),
            forces=torch.from_numpy(records.forces).float(),
            stress=torch.from_numpy(records.stress).float(),
            has_stress=torch.from_numpy(records.has_stress),
            weight=None if self._weights is None else self._weights[torch.as_tensor(indices)],
            extra={name: torch.from_numpy(records.extra[name]).float() for name in self._extra},
        )

    def _search(self, start: int) -> tuple[Array, list[Edges]]:
        records = self._source.gather(np.arange(start, min(start + STRUCTURES_AT_ONCE, len(self._source))))
        return np.diff(records.ptr), [self._edges(records, k) for k in range(len(records))]

    def _edges(self, records: Records, k: int) -> Edges:
        atoms = slice(records.ptr[k], records.ptr[k + 1])
        return find_neighbors(records.positions[atoms], records.cell[k], records.pbc[k], self._cutoff)

    def _keep(self, start: int, edges: list[Edges]) -> None:
        for k, each in enumerate(edges, start):
            compact = each.compact()
            self._left -= compact.bytes
            if self._left < 0:
                return
            self._kept[k] = compact


class Batches(Protocol):
    """Structures that yield a batch for their indices."""

    def __getitem__(self, indices: Array) -> Any: ...


class Loader:
    """The batches of one epoch after another, made ahead by a thread; a resumed run goes on within the epoch.

    Parameters
    ----------
    data
        Structures of the batches.
    batches
        Structures of each batch, by index.
    """

    def __init__(self, data: Batches, batches: BatchSampler) -> None:
        self._data = data
        self._batches = batches
        self._done = 0
        self.epoch = 0

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches of :attr:`epoch`, from the first that was not given before."""
        self._done %= max(len(self), 1)
        wanted = list(self._batches.of_epoch(self.epoch))[self._done :]
        made: queue.Queue[Any] = queue.Queue(BATCHES_AHEAD)
        stop = threading.Event()

        def make() -> None:
            for indices in wanted:
                try:
                    item: Any = self._data[indices]
                except Exception as error:  # noqa: BLE001 - raised where batches are taken
                    item = error
                while not stop.is_set():
                    try:
                        made.put(item, timeout=0.1)
                        break
                    except queue.Full:
                        continue
                if stop.is_set() or isinstance(item, Exception):
                    return

        thread = threading.Thread(target=make, name="batches", daemon=True)
        thread.start()
        try:
            for _ in wanted:
                item = made.get()
                if isinstance(item, Exception):
                    raise item
                self._done += 1
                yield item
        finally:
            stop.set()
            thread.join()

    def state_dict(self) -> dict[str, Any]:
        """Return the position within the epoch (Lightning calls it)."""
        return {"epoch": self.epoch, "done": self._done % max(len(self), 1)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a position within an epoch (Lightning calls it)."""
        self.epoch, self._done = state["epoch"], state["done"]
