"""The student compiled ahead of time, for use from Python: one ``.pt2`` beside the folder of its student."""

from __future__ import annotations

from pathlib import Path

from potstill.deploy.student import DeployedStudent, load_student


def export_compiled(student: Path, path: Path) -> Path:
    """Compile the student of a folder in float32; takes half a minute to two minutes.

    Raises
    ------
    InputError
        If there is no C++ compiler.
    """
    from potstill.student.compiled import compile_student

    return compile_student(load_student(student, backend="torch").model, path)


def load_compiled(student: Path, path: Path) -> DeployedStudent:
    """Load the student of a folder, evaluated by the compiled file."""
    from potstill.student.compiled import CompiledKernel

    deployed = load_student(student, backend="torch")
    deployed.use(CompiledKernel(path, deployed.model))
    return deployed
