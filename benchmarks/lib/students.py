"""The students that the speed benchmarks measure, and all models by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ase import Atoms
from benchmarks.lib.peers import PEERS, RANDOM, Answer, Model, package

from potstill.student.options import Backend, Tier

# name of a student -> tier of its config and backend it runs on
STUDENTS: dict[str, tuple[Tier, Backend]] = {
    "student nano": ("nano", "fused"),
    "student small": ("small", "fused"),
    "student base": ("base", "fused"),
    "student nano, PyTorch": ("nano", "torch"),
    "student base, PyTorch": ("base", "torch"),
    "student xl, PyTorch": ("xl", "torch"),
    "student large": ("large", "fused"),
    "student xl": ("xl", "fused"),
}


def student(name: str) -> Model:
    """An untrained student that knows 94 elements."""
    from potstill.core.types import Structure
    from potstill.testing import random_student

    tier, backend = STUDENTS[name]
    deployed = random_student(range(1, 95), tier=tier, backend=backend)

    def evaluate(structures: Sequence[Atoms]) -> list[Answer]:
        labels = deployed.label([Structure.from_ase(a) for a in structures])
        return [(x.energy, x.forces, x.stress) for x in labels]

    return Model(
        name=name,
        package=package("potstill"),
        parameters=deployed.parameters,
        weights=RANDOM,
        evaluate=evaluate,
        calculator=deployed.calculator,
        megabytes_per_atom=0.1,
    )


MODELS: dict[str, Callable[[], Model]] = {**{name: partial(student, name) for name in STUDENTS}, **PEERS}
