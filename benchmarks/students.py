"""The students that the speed benchmarks measure, and all models by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ase import Atoms
from peers import PEERS, RANDOM, Answer, Model, package, seeded

from potstill.deploy.student import Backend
from potstill.student.config import Tier

# name of a student -> tier of its config and backend it runs on
STUDENTS: dict[str, tuple[Tier, Backend]] = {
    "student nano": ("nano", "fused"),
    "student small": ("small", "fused"),
    "student base": ("base", "fused"),
    "student base, PyTorch": ("base", "torch"),
    "student large": ("large", "fused"),
    "student xl": ("xl", "fused"),
}


def student(name: str) -> Model:
    """An untrained student that knows 94 elements."""
    from potstill.deploy.student import DeployedStudent
    from potstill.registry import symbols_of
    from potstill.student.config import StudentArchitecture
    from potstill.student.model import Student
    from potstill.types import Structure

    tier, backend = STUDENTS[name]
    elements = tuple(range(1, 95))
    with seeded():
        network = Student(StudentArchitecture(tier=tier, atomic_numbers=elements)).eval()
    deployed = DeployedStudent(
        network.requires_grad_(requires_grad=False), {"elements": symbols_of(elements)}, backend=backend
    )

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
