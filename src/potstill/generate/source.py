"""Interface of a source: options that a config states, and one method that turns indices into structures.

A source is a frozen pydantic model, so a config contains the source itself and worker processes receive it as data. A
plug-in's source is a subclass named by an entry point of the group ``potstill.sources``.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from potstill.core.elements import symbols_of
from potstill.core.errors import PotstillError
from potstill.core.registry import borrow
from potstill.core.section import Section
from potstill.core.types import Refused, Structure

CANDIDATES_PER_TASK = 32
Kind = Literal["traditional", "generative", "benchmark", "own"]
Families = Literal["composition", "structure"]


class SourceOptions(Section, ABC):
    """Options common to every source."""

    kind: ClassVar[Kind] = "traditional"
    """Kind in the contingency mix; structures of the user's ``own`` are not part of the mix."""

    packages: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Optional packages that it imports, each with the extra that installs it."""

    count: Annotated[int, Field(gt=0, description="number of structures wanted from this source")]
    label: Annotated[
        str, Field(description="name of the source in the dataset; its type where empty", pattern=r"^[\w.-]*$")
    ] = ""
    elements: Annotated[
        tuple[str, ...],
        Field(description="chemical symbols that this source may use; those of the generate section where empty"),
    ] = ()
    max_atoms: Annotated[int, Field(gt=0, description="largest structure")] = 40

    @property
    def name(self) -> str:
        """Return the name written into ``/structures/source``."""
        return self.label or str(getattr(self, "source"))  # noqa: B009 - the discriminator lives in the leaf

    @property
    def derived(self) -> bool:
        """Return whether it starts from the structures of earlier sources."""
        return False

    @property
    def needs_teacher(self) -> bool:
        """Return whether it asks a teacher: that of its option ``teacher``, or else that of the labels."""
        return False

    @property
    def needed_properties(self) -> frozenset[str]:
        """Return what its teacher must predict beside energy and forces, such as ``"stress"``."""
        return frozenset()

    def available(self) -> int | None:
        """Return the largest number of structures that it can make, or None where there is no limit."""
        return None

    def missing(self) -> str | None:
        """Return why it cannot run here, with the command that fixes it; None where nothing is missing."""
        faults = []
        for package, extra in self.packages:
            try:
                borrow(package, extra, f"the source '{self.name}'")
            except PotstillError as error:
                faults.append(str(error))
        return "\n".join(faults) or None

    @property
    def candidates_per_task(self) -> int:
        """Return the number of candidates made and sealed as one part file; a crash costs this many at most."""
        return CANDIDATES_PER_TASK

    @property
    def exclusive(self) -> bool:
        """Return whether its tasks must run one after another (it takes a whole GPU or writes to a fixed path)."""
        return False

    def refuse(self, structure: Structure, what: str = "") -> Refused | None:
        """Return None where the elements and the size are allowed, else a refusal; ``what`` names the structure in it."""
        return self.refuse_composition(symbols_of(structure.atomic_numbers), len(structure), what or structure.formula)

    def refuse_composition(self, symbols: Collection[str], atoms: int, what: str) -> Refused | None:
        """Judge elements and size before there is a structure, so that a forbidden one need not be made."""
        foreign = sorted(set(symbols) - set(self.elements))
        if self.elements and foreign:
            return Refused("element_not_allowed", f"{what}: {', '.join(foreign)}")
        if atoms > self.max_atoms:
            return Refused("too_many_atoms", f"{what}: {atoms} atoms > {self.max_atoms}")
        return None

    @abstractmethod
    def propose(self, indices: Sequence[int], seed: int, parents: Sequence[Structure]) -> list[Structure | Refused]:
        """Return one structure or refusal per index, in order: a pure function of the options, the index and the seed."""


def random_generator(seed: int, name: str, index: int) -> np.random.Generator:
    """Return the random numbers of one candidate, the same in every process."""
    words = np.frombuffer(hashlib.sha256(name.encode()).digest()[:16], dtype=np.uint32)
    return np.random.default_rng([seed, index, *words.tolist()])


def propose_each(
    name: str, indices: Sequence[int], seed: int, make: Callable[[int, np.random.Generator], Structure | Refused]
) -> list[Structure | Refused]:
    """Call ``make(index, rng)`` for each index; an exception refuses that candidate only."""
    results: list[Structure | Refused] = []
    for index in indices:
        try:
            results.append(make(index, random_generator(seed, name, index)))
        except Exception as error:  # noqa: BLE001 - a source may use any library; one candidate must not stop a run
            results.append(Refused("source_error", f"{type(error).__name__}: {error}"))
    return results
