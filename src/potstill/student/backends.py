"""Choice of the code that computes a student's labels: GPU kernels on a GPU; the log says why where they cannot run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from potstill.core.cpp import KernelError
from potstill.student.model import Student
from potstill.student.options import Backend

if TYPE_CHECKING:
    from potstill.student.gpu.session import GpuStudent

log = logging.getLogger(__name__)


def gpu_student(student: Student, backend: Backend) -> GpuStudent | None:
    """Return the GPU kernels of a student on its device and in its precision, or None for other code.

    Parameters
    ----------
    student
        Student on the device to use.
    backend
        ``"gpu"``, or ``"auto"``: the kernels if the student is on a CUDA device and they can run.

    Raises
    ------
    KernelError
        If the backend is ``"gpu"`` and the kernels cannot run; the message says why.
    """
    if backend not in {"gpu", "auto"} or (backend == "auto" and not student.embedding.weight.is_cuda):
        return None
    try:
        return _made(student)
    except KernelError as error:
        if backend == "gpu":
            raise
        log.info("running in PyTorch: %s", error)
        return None


def _made(student: Student) -> GpuStudent:
    try:
        from potstill.student.gpu.session import GpuStudent
    except ImportError as error:
        raise KernelError(f"Triton cannot be imported ({error}); PyTorch for CUDA installs it") from error
    return GpuStudent(student)
