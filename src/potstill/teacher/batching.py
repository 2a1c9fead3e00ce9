"""Many structures in one call of a model: who shares a batch, and what becomes of a batch that fails.

Enter structures and two functions of a teacher, one that makes a graph of a structure and one that labels a list of graphs;
leave labels or refusals in the order of the structures. Who shares a batch follows from the structures and one number, never
from time or free memory, so that a run that is repeated, resumed or shared out differently has the same labels to the last
bit. Only a batch that does not fit into memory is divided.
"""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from potstill.core.elements import symbols_of
from potstill.core.precision import float32_products
from potstill.core.types import PROPERTIES, Array, Labels, Refused, Structure
from potstill.execute.worker import WORKER_VARIABLE

if TYPE_CHECKING:
    import torch

LOADING, LABELLING = "loading the teacher", "labelling"  # what a worker is doing, in messages
log = logging.getLogger(__name__)
G = TypeVar("G")

asking: ContextVar[Callable[[int], None]] = ContextVar("asking", default=lambda count: None)
"""Called with the number of structures before each call of a model: a sign of life of those who label."""


def label_in_batches(
    structures: Sequence[Structure],
    *,
    elements: Collection[int] | None,
    atoms_per_batch: int,
    prepare: Callable[[Structure], G],
    evaluate: Callable[[Sequence[G], Sequence[Structure]], Sequence[Labels]],
) -> list[Labels | Refused]:
    """Label structures by a model that takes several at once.

    A structure with a foreign element, or of which no graph can be made, is refused before the model is asked. A batch that
    fails is halved until the structure that fails stands alone and is refused; where memory was too small, later batches
    are no larger than what fitted.

    Parameters
    ----------
    structures
        Any number of them.
    elements
        Atomic numbers that the teacher knows; None where it does not say.
    atoms_per_batch
        Atoms in one call at most; a larger structure is asked for alone.
    prepare
        Makes the graph of a structure; may raise.
    evaluate
        Labels graphs; may raise. It is also given their structures.
    """
    results: dict[int, Labels | Refused] = {}
    known = []
    for k, structure in enumerate(structures):
        refused = refuse_foreign(structure, elements)
        if refused is None:
            known.append(k)
        else:
            results[k] = refused
    limit = atoms_per_batch
    for batch in _batches(known, structures, atoms_per_batch):
        graphs = {}
        for k in batch:
            try:
                graphs[k] = prepare(structures[k])
            except Exception as error:  # noqa: BLE001 - a package may fail in any way on a strange structure
                results[k] = failed(error)
        waiting = list(_batches(list(graphs), structures, limit))
        while waiting:
            sub = waiting.pop(0)
            asking.get()(len(sub))
            try:
                answers = list(evaluate([graphs[k] for k in sub], [structures[k] for k in sub]))
                results.update(zip(sub, answers, strict=True))
            except Exception as error:  # noqa: BLE001 - whatever the model raises concerns this batch only
                if is_out_of_memory(error):
                    limit = _smaller(limit, sum(len(structures[k]) for k in sub))
                if len(sub) == 1:
                    results[sub[0]] = failed(error)
                else:
                    half = len(sub) // 2
                    waiting[:0] = [sub[:half], sub[half:]]
    return [results[k] for k in range(len(structures))]


class BatchedTeacher(ABC):
    """A teacher whose package takes several structures at once; a leaf makes graphs and evaluates them.

    Parameters
    ----------
    fingerprint
        Name, version, weights and dtype.
    elements
        Atomic numbers that it knows.
    atoms_per_batch
        Atoms in one call at most.
    properties
        What it gives.
    """

    def __init__(
        self,
        fingerprint: Mapping[str, str],
        elements: Collection[int],
        atoms_per_batch: int,
        properties: Collection[str] = PROPERTIES,
    ) -> None:
        self._fingerprint = dict(fingerprint)
        self._elements = frozenset(elements)
        self._atoms_per_batch = atoms_per_batch
        self._properties = frozenset(properties)

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """Name, version, weights and dtype."""
        return self._fingerprint

    @property
    def elements(self) -> frozenset[int]:
        """Atomic numbers that it knows."""
        return self._elements

    @property
    def properties(self) -> frozenset[str]:
        """What it gives."""
        return self._properties

    def label(self, structures: Sequence[Structure]) -> list[Labels | Refused]:
        """Labels or a refusal for each structure, in order."""
        with self._settings():
            return label_in_batches(
                structures,
                elements=self._elements,
                atoms_per_batch=self._atoms_per_batch,
                prepare=self._graph,
                evaluate=self._evaluate,
            )

    def _settings(self) -> AbstractContextManager[None]:
        """What its package wants of the process for as long as it works; products of float32 are float32 unless it says."""
        return float32_products()

    @abstractmethod
    def _graph(self, structure: Structure) -> Any:
        """What the model takes for a structure; may raise."""

    @abstractmethod
    def _evaluate(self, graphs: Sequence[Any], structures: Sequence[Structure]) -> list[Labels]:
        """Labels of some graphs and their structures; may raise."""


def labels_of(
    structures: Sequence[Structure], energy: Array, forces: Array, stress: Array | None, **extra: Array
) -> list[Labels]:
    """Labels of each structure from those of a batch: (S,) eV, (N, 3) eV/Å, (S, 3, 3) eV/Å^3 where there is one.

    ``extra`` are rows per atom.
    """
    ptr = np.cumsum([0, *(len(s) for s in structures)])
    return [
        Labels(
            energy=float(energy[k]),
            forces=np.array(forces[ptr[k] : ptr[k + 1]], dtype=np.float64),
            stress=np.array(stress[k], dtype=np.float64) if stress is not None and s.pbc.all() else None,
            extra={name: np.array(rows[ptr[k] : ptr[k + 1]]) for name, rows in extra.items()},
        )
        for k, s in enumerate(structures)
    ]


def label_each(structures: Sequence[Structure], ask: Callable[[Structure], Labels]) -> list[Labels | Refused]:
    """Ask for one structure after the other; an exception refuses that structure and no other."""
    results: list[Labels | Refused] = []
    for structure in structures:
        asking.get()(1)
        try:
            results.append(ask(structure))
        except Exception as error:  # noqa: BLE001 - a teacher may fail in any way on a strange structure
            results.append(failed(error))
    return results


def refuse_foreign(structure: Structure, elements: Collection[int] | None) -> Refused | None:
    """A refusal that names the elements which a teacher does not know, or None."""
    foreign = set() if elements is None else set(structure.atomic_numbers.tolist()) - set(elements)
    return Refused("unsupported_element", f"the teacher does not know {', '.join(symbols_of(foreign))}") if foreign else None


def failed(error: Exception) -> Refused:
    """The refusal of a structure on which a teacher raised an exception."""
    reason = "out_of_memory" if is_out_of_memory(error) else "teacher_error"
    return Refused(reason, f"{type(error).__name__}: {error}")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory was too small, on a GPU or a CPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error).lower() for words in ("out of memory", "not enough memory", "can't allocate memory")
    )


def pick_device(name: str) -> torch.device:
    """The device of an option: ``auto`` is a GPU where there is one, and workers take the GPUs in turn."""
    import torch

    if name != "auto":
        return torch.device(name)
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get(WORKER_VARIABLE, "0")) % torch.cuda.device_count())


def _batches(indices: Sequence[int], structures: Sequence[Structure], atoms_per_batch: int) -> Iterator[list[int]]:
    """Neighbours in size share a batch; the order is the same in every run."""
    batch: list[int] = []
    atoms = 0
    for k in sorted(indices, key=lambda k: (len(structures[k]), k)):
        if batch and atoms + len(structures[k]) > atoms_per_batch:
            yield batch
            batch, atoms = [], 0
        batch.append(k)
        atoms += len(structures[k])
    if batch:
        yield batch


def _smaller(limit: int, atoms: int) -> int:
    """The next limit after a batch with so many atoms did not fit into memory."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    smaller = max(1, min(limit, atoms) // 2)
    log.warning("%d atoms at once do not fit into memory: going on with %d; set 'atoms_per_batch' lower", atoms, smaller)
    return smaller
