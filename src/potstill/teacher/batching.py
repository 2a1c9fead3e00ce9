"""Batches of structures for one call of a model, and the handling of a batch that fails.

Takes structures and two functions of a teacher: one makes a graph of a structure, the other labels a list of graphs. Returns
labels or refusals in the order of the structures. The structures and one number alone decide the batches; time and free
memory do not matter. A run that is repeated, resumed or divided differently therefore has the same labels to the last bit.
Only a batch that does not fit into memory is divided.
"""

from __future__ import annotations

import logging
import os
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from potstill.core.elements import symbols_of
from potstill.core.precision import float32_products, own_modes
from potstill.core.types import PROPERTIES, Array, Labels, Refused, Structure
from potstill.execute.worker import WORKER_VARIABLE

if TYPE_CHECKING:
    import torch
    from pydantic import BaseModel

LONGEST_DETAIL = 500  # letters of an exception that a refusal holds
NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "_alloc_failed")  # the last is cuBLAS'
BROKEN = (  # errors after which CUDA refuses every call of the process
    "illegal memory access",
    "illegal instruction",
    "misaligned address",
    "device-side assert",
    "unspecified launch failure",
    "uncorrectable ecc error",
    "hardware stack error",
    "invalid program counter",
)
LOADING, LABELLING = "loading the teacher", "labelling"  # state of a worker, in messages
log = logging.getLogger(__name__)
G = TypeVar("G")

ATOMS_ON_GPU = 16_384  # on an H200, 7net-0 gave 0.3, 1.9, 3.9 and 4.5 million labels per hour at 64, 512, 4096 and 16384

asking: ContextVar[Callable[[int], None]] = ContextVar("asking", default=lambda count: None)
"""Function called with the number of structures before each call of a model, as a heartbeat of the worker."""


class BrokenDeviceError(SystemExit):
    """Raised where the GPU answers this process no more: it must end, and no structure is to blame."""


def label_in_batches(
    structures: Sequence[Structure],
    *,
    elements: Collection[int] | None,
    atoms_per_batch: int,
    prepare: Callable[[Structure], G],
    evaluate: Callable[[Sequence[G], Sequence[Structure]], Sequence[Labels]],
) -> list[Labels | Refused]:
    """Label structures by a model that takes several at once.

    A structure with an unsupported element, or for which no graph can be made, is refused before the model is called. A
    batch that fails is halved until the structure that fails is alone, which is then refused. Where memory was too small,
    later batches are no larger than the largest that fitted.

    Parameters
    ----------
    structures
        Structures to label, any number.
    elements
        Atomic numbers that the teacher supports; None where it does not state them.
    atoms_per_batch
        Largest number of atoms in one call; a larger structure is labelled alone.
    prepare
        Function that makes the graph of a structure; may raise.
    evaluate
        Function that labels graphs, given their structures too; may raise.
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
    """A teacher whose package takes several structures at once; subclasses make graphs and evaluate them.

    Parameters
    ----------
    fingerprint
        Name, version, weights and dtype.
    elements
        Atomic numbers that it supports.
    atoms_per_batch
        Largest number of atoms in one call.
    properties
        Names of the properties that it predicts.
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
        """Return name, version, weights and dtype."""
        return self._fingerprint

    @property
    def elements(self) -> frozenset[int]:
        """Return the atomic numbers that it supports."""
        return self._elements

    @property
    def properties(self) -> frozenset[str]:
        """Return the names of the properties that it predicts."""
        return self._properties

    def label(self, structures: Sequence[Structure]) -> list[Labels | Refused]:
        """Return labels or a refusal for each structure, in order."""
        with self._settings(), own_modes("cpu"), own_modes("cuda"):
            return label_in_batches(
                structures,
                elements=self._elements,
                atoms_per_batch=self._atoms_per_batch,
                prepare=self._graph,
                evaluate=self._evaluate,
            )

    def _settings(self) -> AbstractContextManager[None]:
        """Apply the process settings that its package needs; by default, keep float32 products in float32."""
        return float32_products()

    @abstractmethod
    def _graph(self, structure: Structure) -> Any:
        """Return the model's input for a structure; may raise."""

    @abstractmethod
    def _evaluate(self, graphs: Sequence[Any], structures: Sequence[Structure]) -> list[Labels]:
        """Return labels of some graphs and their structures; may raise."""


def labels_of(
    structures: Sequence[Structure], energy: Array, forces: Array, stress: Array | None, **extra: Array
) -> list[Labels]:
    """Return the labels of each structure from those of a batch.

    ``energy`` is (S,) in eV, ``forces`` (N, 3) in eV/Å and ``stress`` (S, 3, 3) in eV/Å^3, or None. ``extra`` are arrays
    with one row per atom.
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
    """Label one structure after the other; an exception refuses that structure only."""
    results: list[Labels | Refused] = []
    for structure in structures:
        asking.get()(1)
        try:
            results.append(ask(structure))
        except Exception as error:  # noqa: BLE001 - a teacher may fail in any way on a strange structure
            results.append(failed(error))
    return results


def refuse_foreign(structure: Structure, elements: Collection[int] | None) -> Refused | None:
    """Return a refusal that names the elements which a teacher does not support, or None."""
    foreign = set() if elements is None else set(structure.atomic_numbers.tolist()) - set(elements)
    return (
        Refused("unsupported_element", f"the teacher does not support {', '.join(symbols_of(foreign))}") if foreign else None
    )


def failed(error: Exception) -> Refused:
    """Return the refusal of a structure on which a teacher raised an exception.

    Raises
    ------
    BrokenDeviceError
        If the GPU would fail on every other structure as well. The supervisor of the process starts another, and finds the
        structure if it was one.
    """
    if is_broken(error):
        raise BrokenDeviceError(f"the GPU answers no more: {_words_of(error)}") from error
    reason = "out_of_memory" if is_out_of_memory(error) else "teacher_error"
    return Refused(reason, f"{type(error).__name__}: {_words_of(error)}")


def _words_of(error: Exception) -> str:
    """Return the text of an exception as one line of Unicode; the place where it was raised if it has none."""
    try:
        text = " ".join(str(error).encode("utf-8", "replace").decode().replace("\0", " ").split())
    except Exception:  # noqa: BLE001 - an exception of external code may fail at its own text
        text = ""
    if not text:
        place = traceback.extract_tb(error.__traceback__)[-1:]
        text = f"no text, raised in {place[0].filename}, line {place[0].lineno}" if place else "no text"
    return text if len(text) <= LONGEST_DETAIL else f"{text[:LONGEST_DETAIL]} …"


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception reports that memory was too small, on a GPU or a CPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in NO_MEMORY)


def is_broken(error: BaseException) -> bool:
    """Return whether an exception reports that the GPU takes no more work of this process."""
    text = str(error).lower() if isinstance(error, RuntimeError) else ""
    return "cuda" in text and any(words in text for words in BROKEN)


def pick_device(name: str) -> torch.device:
    """Return the device of an option; ``auto`` is a GPU where there is one, and workers take the GPUs in turn."""
    import torch

    if name != "auto":
        return torch.device(name)
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get(WORKER_VARIABLE, "0")) % torch.cuda.device_count())


def gpus_of(name: str) -> int:
    """Return the number of GPUs that the workers of a teacher with this option ``device`` share; 0 on a CPU."""
    import torch

    if pick_device(name).type == "cpu":
        return 0
    return torch.cuda.device_count() if name == "auto" else 1


def atoms_at_once(options: BaseModel, device: torch.device) -> int:
    """Return the largest number of atoms in one call: ``atoms_per_batch``, whose default stands for 16384 on a GPU.

    The default is one number on every device, so that a run may continue on another one.
    """
    stated = int(getattr(options, "atoms_per_batch"))  # noqa: B009 - a field of each teacher that batches
    default = type(options).model_fields["atoms_per_batch"].default
    return ATOMS_ON_GPU if device.type != "cpu" and stated == default else stated


def _batches(indices: Sequence[int], structures: Sequence[Structure], atoms_per_batch: int) -> Iterator[list[int]]:
    """Yield batches of structures of similar size, in an order that is the same in every run."""
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
    """Return the limit to use after a batch of ``atoms`` atoms did not fit into memory."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    smaller = max(1, min(limit, atoms) // 2)
    log.warning("%d atoms at once do not fit into memory: continuing with %d; set 'atoms_per_batch' lower", atoms, smaller)
    return smaller
