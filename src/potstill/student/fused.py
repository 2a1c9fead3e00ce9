"""The fused CPU kernel as a :data:`~potstill.student.model.Kernel`: one for prediction, one for training.

Takes a student in float32 on a CPU and returns the numbers of its PyTorch code, several times faster. Where there is no C++
compiler, :class:`KernelError` says why and the student runs in PyTorch.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from potstill.core.cpp import KernelError, LibraryError
from potstill.core.threads import threads
from potstill.core.types import Batch
from potstill.student.fused_library import load_library, warn_once
from potstill.student.fused_weights import Atoms, FusedWeights, Learned
from potstill.student.model import Kernel, Student
from potstill.student.options import Backend

log = logging.getLogger(__name__)

FAILURES = {1: "the fused kernel has no code for these sizes", 2: "the fused kernel has too little memory for this batch"}
STEP_ANGSTROM = 0.003


def kernel_of(student: Student, backend: Backend, make: Callable[[Student], Kernel]) -> Kernel | None:
    """Return the kernel of a backend, or None for plain PyTorch.

    Parameters
    ----------
    student
        Student on its device and in its precision.
    backend
        ``"fused"``, ``"torch"``, or ``"auto"``: the first if it can run, else the second. None for ``"gpu"``, whose kernels
        take structures (:mod:`potstill.student.gpu`).
    make
        :class:`FusedKernel` or :class:`FusedTraining`.

    Raises
    ------
    KernelError
        If the backend is ``"fused"`` and it cannot run; the message says why.
    """
    if backend in {"torch", "gpu"}:
        return None
    try:
        return make(student)
    except KernelError as error:
        if backend == "fused":
            raise
        if isinstance(error, LibraryError):
            warn_once(str(error))
        log.info("running in PyTorch: %s", error)
        return None


class FusedKernel:
    """Local energies and their derivative by the edge vectors, for a student with frozen weights.

    Parameters
    ----------
    student
        Student in float32 on the CPU.

    Raises
    ------
    KernelError
        If the student is on another device or in another precision, or the kernel cannot be compiled here.
    """

    def __init__(self, student: Student) -> None:
        self._student = _suitable(student)
        self._library = load_library()
        self._weights = FusedWeights(student, self._library.student_lanes())

    def __call__(self, vectors: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (N,) local energies in eV and (e, 3) derivatives in eV/Å of their sum by the (e, 3) edge vectors."""
        edges = _Edges(self._student, vectors, batch)
        self._weights.merge(edges.present)
        return edges.energy_gradient(self._library, self._weights)

    def with_last_features(self, vectors: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return energies, derivatives, and the (N, hidden) features in which local energies are linear."""
        edges = _Edges(self._student, vectors, batch)
        self._weights.merge(edges.present)
        lanes, hidden = self._library.student_lanes(), self._student.architecture.hidden
        last = self._student.embedding.weight.new_empty(len(edges.species), -(-hidden // lanes) * lanes)
        local, gradient = edges.energy_gradient(self._library, self._weights, last)
        return local, gradient, last[:, :hidden]

    def bytes_held(self) -> int:
        """Return the memory in bytes that the calling thread keeps between calls of any kernel."""
        self._library.student_memory.restype = ctypes.c_int64
        return int(self._library.student_memory())

    def __reduce__(self) -> tuple[object, ...]:
        """Make copies and pickles anew from the student."""
        return FusedKernel, (self._student,)


class FusedTraining:
    """Local energies and their derivative by the edge vectors, both differentiable by the student's parameters.

    A loss L of energies E and derivatives g = dE/dr needs ``dL/dE dE/dw + dL/dg dg/dw``. The second term is the derivative
    of dE/dw along v = dL/dg, a direction in the space of edge vectors. It is computed as the difference of two derivatives
    by the weights alone, with the edge vectors moved a small step along v and against it. No second derivative is written
    out, and no graph is kept. The error is of second order in the step: about one part in ten thousand.

    Parameters
    ----------
    student
        Student in float32 on the CPU.

    Raises
    ------
    KernelError
        If the student is on another device or in another precision, or the kernel cannot be compiled here.
    """

    def __init__(self, student: Student) -> None:
        self._student = _suitable(student)
        self._library = load_library()
        self._latest: tuple[object, FusedWeights] | None = None

    def __call__(self, vectors: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (N,) local energies in eV and (e, 3) derivatives in eV/Å of their sum by the (e, 3) edge vectors.

        Calls before a backward pass share the mixed matrices, so their losses must be differentiated as one sum.
        """
        edges = _Edges(self._student, vectors, batch)
        weights = self._weights(edges.present)
        last_bias = self._student.last.bias
        found: tuple[torch.Tensor, torch.Tensor] = _Learnable.apply(  # type: ignore[no-untyped-call]
            self._library, edges, weights, float(self._student.scale), last_bias, *weights.tensors
        )
        return found

    def _weights(self, present: set[int]) -> FusedWeights:
        state = [_state(p) for p in self._student.parameters()], torch.is_grad_enabled()
        if self._latest is None or not _serves(*self._latest, state, present):
            self._latest = None  # its memory is free before the next takes as much
            weights = FusedWeights(self._student, self._library.student_lanes(), learning=True)
            weights.merge(present)
            self._latest = state, weights
        return self._latest[1]


def _state(parameter: torch.Tensor) -> tuple[object, ...]:
    """Return what tells a parameter from itself at another time; fused steps of AdamW leave its version as it is."""
    first = float(parameter.detach().flatten()[0]) if parameter.numel() else 0.0
    return parameter.data_ptr(), parameter._version, parameter.requires_grad, first


def _serves(made_from: object, weights: FusedWeights, state: object, present: set[int]) -> bool:
    """Return whether weights that were mixed in one state can be used again, for some elements, in another."""
    return made_from == state and present <= weights.merged and not weights.differentiated


class _Learnable(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        library: ctypes.CDLL,
        edges: _Edges,
        weights: FusedWeights,
        scale: float,
        *_: torch.Tensor,  # tensors that the result depends on
    ) -> tuple[torch.Tensor, torch.Tensor]:
        ctx.given = library, edges, weights, scale
        return edges.energy_gradient(library, weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_local: torch.Tensor, by_gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        library, edges, weights, scale = ctx.given
        weights.differentiated = True
        by_weights = edges.weight_gradient(library, weights, by_local, by_gradient)
        return None, None, None, None, (scale * by_local.sum()).reshape(1), *by_weights


class _Edges:
    """Batch as C++ takes it: edges sorted by receiver, with all indices checked."""

    def __init__(self, student: Student, vectors: torch.Tensor, batch: Batch) -> None:
        if vectors.dtype != torch.float32 or vectors.device.type != "cpu":
            raise KernelError(f"the fused kernel needs float32 on a CPU, found {vectors.dtype} on {vectors.device}")
        self.species = student.species_of[batch.atomic_numbers]
        self.present = set(self.species.unique().tolist())
        if -1 in self.present:
            raise KernelError("the batch contains an element that the student does not support")
        n_atoms = len(self.species)
        if batch.edge_index.numel():
            least, most = torch.aminmax(batch.edge_index)
            if int(least) < 0 or int(most) >= n_atoms:
                raise KernelError("the batch has edges to atoms outside it")
        self.first = self.species.new_zeros(n_atoms + 1)
        torch.cumsum(torch.bincount(batch.edge_index[0], minlength=n_atoms), 0, out=self.first[1:])
        self.sender = batch.edge_index[1].to(torch.int64).contiguous()
        self.vectors = vectors.detach().contiguous()
        self.structure = batch.structure
        self.receiver = batch.edge_index[0]
        self.n_structures = len(batch)

    def energy_gradient(
        self, library: ctypes.CDLL, weights: FusedWeights, last: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (N,) local energies and the (e, 3) derivative of their sum; write the last features into ``last``."""
        local, gradient = self.vectors.new_empty(len(self.species)), torch.empty_like(self.vectors)
        atoms = _atoms(self.species, self.first, self.sender, self.vectors, local, gradient)
        if last is not None:
            atoms.last = last.data_ptr()
        _check(library.student_energy_gradient(ctypes.byref(weights.model), ctypes.byref(atoms), ctypes.c_int(threads())))
        return local, gradient

    def weight_gradient(
        self, library: ctypes.CDLL, weights: FusedWeights, by_local: torch.Tensor, by_gradient: torch.Tensor
    ) -> list[torch.Tensor]:
        """Return the derivative of ``sum(by_local * local) + sum(by_gradient * gradient)`` by each tensor of the weights."""
        longest = by_gradient.new_zeros(self.n_structures)
        of_edge = self.structure[self.receiver]
        longest.scatter_reduce_(0, of_edge, by_gradient.norm(dim=1), "amax")
        step = torch.where(longest > 0, STEP_ANGSTROM / longest, 1.0)
        moved = step[of_edge][:, None] * by_gradient
        vectors = torch.cat([self.vectors + moved, self.vectors - moved])
        slope = (0.5 / step)[self.structure]
        of_atom = torch.cat([0.5 * by_local + slope, 0.5 * by_local - slope])
        n_atoms, n_edges = len(self.species), len(self.vectors)
        species, local = self.species.repeat(2), vectors.new_empty(2 * n_atoms)
        first = torch.cat([self.first, self.first[1:] + n_edges])
        sender = torch.cat([self.sender, self.sender + n_atoms])
        atoms = _atoms(species, first, sender, vectors, local, vectors)
        count = threads()
        model, rows, alive = weights.derivatives(count)
        learned = Learned(ctypes.addressof(model), of_atom.data_ptr(), rows.stride(0))
        _check(
            library.student_weight_gradient(
                ctypes.byref(weights.model), ctypes.byref(atoms), ctypes.byref(learned), ctypes.c_int(count)
            )
        )
        del alive
        return weights.split(rows.sum(0) if count > 1 else rows[0])


def _suitable(student: Student) -> Student:
    weight = student.embedding.weight
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        raise KernelError(f"the fused kernel needs float32 on a CPU, found {weight.dtype} on {weight.device}")
    return student


def _atoms(*tensors: torch.Tensor) -> Atoms:
    return Atoms(len(tensors[0]), len(tensors[3]), *(tensor.data_ptr() for tensor in tensors))


def _check(failed: int) -> None:
    if failed:
        raise KernelError(FAILURES[failed])
