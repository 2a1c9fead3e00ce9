"""What a teacher is: options that a config states, ``load()`` that makes the model, ``label`` that asks it.

An outsider's teacher is a subclass of :class:`TeacherOptions` named by an entry point of the group ``potstill.teachers``.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from potstill.types import Labels, Refused, Structure, Teacher


class TeacherOptions(BaseModel, ABC):
    """A teacher as the config states it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @abstractmethod
    def load(self) -> Teacher:
        """The model, ready to label (heavy packages are imported here).

        Raises
        ------
        MissingExtraError
            If its package is not installed.
        InputError
            If its weights are not where the options say.
        """

    def check_weights(self) -> None:
        """Raise InputError where the weights are not there, without loading them."""
        return

    def requires(self) -> tuple[str, str] | None:
        """Package and extra that must be installed, or None."""
        return None


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def label_each(structures: Sequence[Structure], ask: Callable[[Structure], Labels]) -> list[Labels | Refused]:
    """Ask for one structure after the other; an exception refuses that structure and no other."""
    results: list[Labels | Refused] = []
    for structure in structures:
        try:
            results.append(ask(structure))
        except Exception as error:  # noqa: BLE001 - a teacher may fail in any way on a strange structure
            results.append(Refused("teacher_error", f"{type(error).__name__}: {error}"))
    return results


def label_with_ase(calculator: Any, structure: Structure) -> Labels:
    """Labels from an ASE calculator; stress only where all three axes are periodic."""
    atoms = structure.to_ase()
    atoms.calc = calculator
    stress = np.array(atoms.get_stress(voigt=False)) if structure.pbc.all() else None
    return Labels(float(atoms.get_potential_energy()), np.array(atoms.get_forces()), stress)


class AseTeacher:
    """Any ASE calculator as a teacher, one structure after the other.

    Parameters
    ----------
    make
        Builds the calculator.
    fingerprint
        Name, version, weights and dtype.
    """

    def __init__(self, make: Callable[[], Any], fingerprint: Mapping[str, str]) -> None:
        self._make = make
        self._calculator = make()
        self._fingerprint = dict(fingerprint)

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """Name, version, weights and dtype."""
        return self._fingerprint

    def label(self, structures: Sequence[Structure]) -> list[Labels | Refused]:
        """Labels or a refusal for each structure, in order."""
        return label_each(structures, self._ask)

    def _ask(self, structure: Structure) -> Labels:
        try:
            return label_with_ase(self._calculator, structure)
        except Exception:
            self._calculator = self._make()  # the old one may hold half of this structure, and answer the next with it
            raise
