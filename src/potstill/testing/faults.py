"""Faults to inject into a dataset, each with the check that must find it and the smallest size that it must find.

Takes a clean :class:`Case` and returns it damaged. Equal random numbers damage it equally. Use them to find the faults that
an audit of your own would miss::

    for fault in FAULTS:
        damaged = fault.inject(case, np.random.default_rng(1))
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from potstill.core.elements import symbols_of
from potstill.core.types import Array, Labels, Refused, Structure, Teacher

Rng = np.random.Generator


def config_asking_for(structures: Sequence[Structure]) -> str:
    """Return the config of a run that asked for these structures, as a dataset file stores it."""
    counts = Counter(s.source for s in structures)
    numbers = sorted({z for s in structures for z in s.atomic_numbers.tolist()})
    sources = [{"source": name, "count": count} for name, count in sorted(counts.items())]
    return json.dumps({"generate": {"elements": list(symbols_of(np.array(numbers, np.uint8))), "sources": sources}})


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A labelled dataset before it is written.

    Parameters
    ----------
    structures
        Labelled structures.
    splits
        (S,) index of the part of each.
    teacher
        Teacher that made the labels.
    attributes
        Attributes of the file.
    refused
        Refusals of the file.
    on_file
        Damage to be done to the file once it is written.
    """

    structures: tuple[Structure, ...]
    splits: Array
    teacher: Teacher
    attributes: Mapping[str, Any] = field(default_factory=dict)
    refused: tuple[Refused, ...] = ()
    on_file: Callable[[Path], None] | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """One way for data to be wrong.

    Parameters
    ----------
    name
        Name of the fault.
    check
        Name of the check that must not return GO.
    smallest
        Detection limit: the size of the fault, in words with units, above which it is always caught.
    inject
        Function that damages a case.
    """

    name: str
    check: str
    smallest: str
    inject: Callable[[Case, Rng], Case]


FAULTS: list[Fault] = []


def fault(check: str, smallest: str) -> Callable[[Callable[[Case, Rng], Case]], Callable[[Case, Rng], Case]]:
    """Register a function as the fault of its name."""

    def register(inject: Callable[[Case, Rng], Case]) -> Callable[[Case, Rng], Case]:
        FAULTS.append(Fault(inject.__name__, check, smallest, inject))
        return inject

    return register


def relabelled(structure: Structure, **changes: Any) -> Structure:
    """Return the structure with some labels replaced."""
    old = structure.labels
    if old is None:
        raise ValueError(f"{structure.id} has no labels")
    return structure.with_(labels=Labels(**{"energy": old.energy, "forces": old.forces, "stress": old.stress, **changes}))


def asked_again(case: Case, structure: Structure) -> Structure:
    """Return the structure with the labels of its teacher for its present positions."""
    (answer,) = case.teacher.label([structure.with_(labels=None)])
    if not isinstance(answer, Labels):
        raise ValueError(f"the teacher refuses {structure.id}: {answer}")  # noqa: TRY004 - a fault that cannot be injected
    return structure.with_(labels=answer)


def each(case: Case, change: Callable[[Structure], Structure]) -> Case:
    """Return the case with every structure changed."""
    return replace(case, structures=tuple(change(s) for s in case.structures))


def one(case: Case, k: int, change: Callable[[Structure], Structure]) -> Case:
    """Return the case with one structure changed."""
    structures = list(case.structures)
    structures[k] = change(structures[k])
    return replace(case, structures=tuple(structures))


def pick(case: Case, rng: Rng, wanted: Callable[[Structure], bool]) -> int:
    """Return the index of a random structure of one kind."""
    return int(rng.choice([k for k, s in enumerate(case.structures) if wanted(s)]))


def added(case: Case, structure: Structure, *, split: int) -> Case:
    """Return the case with one more structure."""
    return replace(case, structures=(*case.structures, structure), splits=np.append(case.splits, split))


def is_crystal(structure: Structure) -> bool:
    """Return whether the structure is periodic along three axes."""
    return bool(structure.pbc.all())


def is_molecule(structure: Structure) -> bool:
    """Return whether the structure is periodic along no axis."""
    return not structure.pbc.any()


from potstill.testing import faults_of_data, faults_of_labels  # noqa: E402, F401 - they register their faults here
