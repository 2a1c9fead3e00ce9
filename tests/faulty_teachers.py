"""Teachers that fail in one way each, importable by worker processes; what they do right is Lennard-Jones."""

# ruff: noqa: ARG001 - each fault takes a structure and its labels, needed or not

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from potstill.core.registry import borrow
from potstill.core.types import PROPERTIES, Labels, Refused, Structure
from potstill.teacher.batching import label_in_batches
from potstill.teacher.classical import LennardJones
from potstill.teacher.options import TeacherOptions, weights_at


def raising(error: BaseException) -> Callable[[Structure, Labels], Labels]:
    def fail(structure: Structure, labels: Labels) -> Labels:
        raise error

    return fail


def too_much_memory(structure: Structure, labels: Labels) -> Labels:
    return Labels(float(np.empty(1 << 55).sum()), labels.forces)


def touching(structure: Structure, labels: Labels) -> Labels:
    structure.positions[0] += 0.1
    return labels


def ending(signal_number: int) -> Callable[[Structure, Labels], Labels]:
    def end(structure: Structure, labels: Labels) -> Labels:
        os.kill(os.getpid(), signal_number)
        time.sleep(60.0)
        return labels

    return end


def killed_once(structure: Structure, labels: Labels) -> Labels:
    mark = Path(os.environ["POTSTILL_TEST_FOLDER"]) / "killed"
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return labels


def deaf(structure: Structure, labels: Labels) -> Labels:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(1.0)


FAULTS: dict[str, tuple[Callable[[Structure, Labels], Any], str]] = {
    "NaN energy": (lambda s, a: Labels(np.nan, a.forces, a.stress), "not_finite"),
    "infinite energy": (lambda s, a: Labels(-np.inf, a.forces, a.stress), "not_finite"),
    "NaN force": (lambda s, a: Labels(a.energy, a.forces * np.where(np.arange(3) == 1, np.nan, 1.0)), "not_finite"),
    "exploding forces": (lambda s, a: Labels(a.energy, np.full((len(s), 3), 1e7), a.stress), "force_limit"),
    "one atom too fast": (lambda s, a: Labels(a.energy, np.eye(len(s), 3) * 218.0, a.stress), "force_limit"),
    "flat forces": (lambda s, a: Labels(a.energy, a.forces.ravel(), a.stress), "wrong_shape"),
    "an atom too many": (lambda s, a: Labels(a.energy, np.zeros((len(s) + 1, 3)), a.stress), "wrong_shape"),
    "two energies": (lambda s, a: Labels(np.array([a.energy, 0.0]), a.forces, a.stress), "wrong_shape"),
    "no energy": (lambda s, a: Labels(None, a.forces, a.stress), "wrong_type"),
    "complex forces": (lambda s, a: Labels(a.energy, a.forces * 1j, a.stress), "wrong_type"),
    "nothing": (lambda s, a: None, "wrong_type"),
    "a dictionary": (lambda s, a: {"energy": a.energy}, "wrong_type"),
    "Voigt stress": (lambda s, a: Labels(a.energy, a.forces, np.zeros(6)), "wrong_shape"),
    "stress of a molecule": (lambda s, a: Labels(a.energy, a.forces, np.full((3, 3), np.nan)), "wrong_shape|not_finite"),
    "exception": (raising(ValueError("no convergence")), "teacher_error"),
    "assertion": (raising(AssertionError()), "teacher_error"),
    "CUDA out of memory": (raising(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")), "out_of_memory"),
    "memory": (too_much_memory, "out_of_memory"),
    "input changed": (touching, "input_changed"),
    "refused by itself": (lambda s, a: Refused("no_idea", "no idea"), "no_idea"),
    "killed": (ending(signal.SIGKILL), "teacher_crashed"),
    "segmentation fault": (ending(signal.SIGSEGV), "teacher_crashed"),
    "exit": (raising(SystemExit(3)), "teacher_crashed"),
    "deaf hang": (deaf, "teacher_timeout"),
    "killed once": (killed_once, ""),
}


class Faulty(TeacherOptions):
    """Commits ``faults[id]`` at the structure of that id, and notes each structure that it has labelled."""

    name: Literal["faulty"] = "faulty"
    faults: dict[str, str]
    atoms_per_batch: int = 60
    knows: tuple[int, ...] = (1, 6, 8, 13, 28, 29, 47)

    def load(self) -> _Faulty:
        return _Faulty(self)


class _Faulty:
    def __init__(self, options: Faulty) -> None:
        self._options, self._honest = options, LennardJones(sigma_angstrom=0.9).load()
        self.fingerprint = {**self._honest.fingerprint, "name": "faulty"}
        self.elements, self.properties = frozenset(options.knows), PROPERTIES

    def label(self, structures: Sequence[Structure]) -> list[Labels | Refused]:
        return label_in_batches(
            structures,
            elements=self.elements,
            atoms_per_batch=self._options.atoms_per_batch,
            prepare=lambda s: s,
            evaluate=self._evaluate,
        )

    def _evaluate(self, graphs: Sequence[Structure], structures: Sequence[Structure]) -> list[Any]:
        answers = []
        for structure, labels in zip(structures, self._honest.label(structures), strict=True):
            fault = self._options.faults.get(structure.id)
            answers.append(FAULTS[fault][0](structure, labels) if fault else labels)
        return answers


class AtLoading(TeacherOptions):
    """Fails while it is loaded."""

    name: Literal["at loading"] = "at loading"
    fault: str
    weights: str = ""

    def load(self) -> Any:
        match self.fault:
            case "missing":
                borrow("nonexistent_package", "orb", "the teacher 'at loading'")
            case "truncated":
                import torch

                with weights_at(Path(self.weights), "at loading", "fetch them again"):
                    torch.load(self.weights, weights_only=True)
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError(self.fault)


class Restless(TeacherOptions):
    """Becomes another teacher while it labels."""

    name: Literal["restless"] = "restless"

    def load(self) -> Any:
        teacher = LennardJones().load()

        class Changing:
            elements, properties = teacher.elements, teacher.properties
            calls = 0

            @property
            def fingerprint(self) -> dict[str, str]:
                return {**teacher.fingerprint, "weights": f"after {self.calls} calls"}

            def label(self, structures: Sequence[Structure]) -> list[Labels | Refused]:
                self.calls += 1
                return teacher.label(structures)

        return Changing()
