"""The student compiled ahead of time by AOTInductor, into one ``.pt2`` file for any number of atoms and neighbors.

The file contains the network with its weights and its derivative, so that an engine needs no Python code of the student:

- in: (N, 3, M) vectors in Å from each atom to its neighbors, longer than the cutoff in empty slots; (N, M) their indices;
(N,) species; and, for a student with experts, the arrays of :class:`~potstill.student.grid.ElementGrid`. N, M, Z and G
must be at least 2.
- out: (N,) local energies in eV without reference energies, and the (N, 3, M) derivative of their sum by the vectors.
"""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from potstill.core.errors import InputError
from potstill.core.types import Batch
from potstill.student.grid import ElementGrid
from potstill.student.layer import ElementLinear, Groups, Layer
from potstill.student.model import Student

EXAMPLE_ATOMS, EXAMPLE_SLOTS, EXAMPLE_ELEMENTS = 8, 5, 2
"""Sizes of the traced batch; the compiled code accepts others. PyTorch takes equal sizes for one, also the 3 of a vector:
atoms, slots, elements and atoms of an element are therefore 8, 5, 2 and 4."""


class _Merged(nn.Module):
    """Mixed linear map with every element's matrix computed in advance."""

    matrices: torch.Tensor
    bias: torch.Tensor

    def __init__(self, linear: ElementLinear, n_elements: int) -> None:
        super().__init__()
        self.register_buffer(
            "matrices", linear.matrices(torch.arange(n_elements, device=linear.bias.device)).detach().clone()
        )
        self.register_buffer("bias", linear.bias.detach().clone())

    def forward(self, x: torch.Tensor, groups: Groups) -> torch.Tensor:
        return groups.product(x, self.matrices.index_select(0, groups.present)) + self.bias


def compile_student(student: Student, path: Path) -> Path:
    """Compile a student for its device and precision; takes half a minute to two minutes.

    Parameters
    ----------
    student
        Trained student.
    path
        File to write, ending in ``.pt2``.

    Raises
    ------
    InputError
        If the file does not end in ``.pt2``, or there is no C++ compiler.
    """
    if path.suffix != ".pt2":
        raise InputError(f"a compiled student is a .pt2 file, found {path}")
    merged = merged_student(student)
    grid = student.architecture.experts > 1

    def energies(
        vectors: torch.Tensor, neighbor: torch.Tensor, species: torch.Tensor, *groups: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.enable_grad():
            leaf = vectors.detach().requires_grad_()
            local = merged.local_energies(leaf, neighbor, species, ElementGrid(*groups) if grid else None)
            (gradient,) = torch.autograd.grad(local.sum(), leaf)
        return local.detach(), gradient

    example = _example(student, grid=grid)
    free = torch.export.Dim.DYNAMIC
    shapes = (
        {0: free, 2: free},
        {0: free, 1: free},
        {0: free},
        *(({0: free}, {0: free, 1: free}, {0: free}) if grid else ()),
    )
    with warnings.catch_warnings():
        for category in (FutureWarning, DeprecationWarning):  # torch 2.13 deprecates functions that it calls itself
            warnings.simplefilter("ignore", category)
        traced = make_fx(energies, tracing_mode="symbolic", _allow_non_fake_inputs=True)(*example)
        program = torch.export.export(traced, example, dynamic_shapes=shapes, strict=False)
        torch._inductor.aoti_compile_and_package(program, package_path=str(path))
    return path


class CompiledKernel:
    """A compiled student as a :data:`~potstill.student.model.Kernel`.

    Parameters
    ----------
    path
        File of :func:`compile_student`.
    student
        The same student, for its elements and cutoff.
    """

    def __init__(self, path: Path, student: Student) -> None:
        self._run = torch._inductor.aoti_load_package(str(path))
        self._student = student

    def __call__(self, vectors: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (N,) local energies in eV and (e, 3) derivatives in eV/Å of their sum by the (e, 3) edge vectors."""
        padded, neighbor, slot = self._student.pad(vectors, batch)
        species = self._student.species_of[batch.atomic_numbers]
        n_atoms = len(species)
        if n_atoms == 1:  # add a second, isolated atom
            padded, neighbor, species = padded.repeat(2, 1, 1), neighbor.repeat(2, 1), species.repeat(2)
        groups = ElementGrid.of(species) if self._student.architecture.experts > 1 else None
        of_groups = (groups.present, groups.occupant, groups.place) if groups else ()
        local, gradient = self._run(padded, neighbor, species, *of_groups)
        return local[:n_atoms], gradient.transpose(1, 2).reshape(-1, 3).index_select(0, slot)


def merged_student(student: Student) -> Student:
    """Copy a student with every element's matrices computed in advance, without experts."""
    merged = copy.deepcopy(student).requires_grad_(requires_grad=False)
    if student.architecture.experts > 1:
        n_elements = len(student.architecture.atomic_numbers)
        for layer in merged.layers:
            assert isinstance(layer, Layer)  # noqa: S101 - nn.ModuleList forgets its type
            for name in ("hidden", "out"):
                setattr(layer, name, _Merged(getattr(layer, name), n_elements))
        merged.readout = _Merged(merged.readout, n_elements)  # type: ignore[assignment]
    return merged


def _example(student: Student, *, grid: bool) -> tuple[torch.Tensor, ...]:
    weight, n_elements = student.embedding.weight, min(EXAMPLE_ELEMENTS, len(student.architecture.atomic_numbers))
    species = torch.arange(EXAMPLE_ATOMS, device=weight.device) % n_elements
    vectors = torch.linspace(0.5, 3.0, EXAMPLE_ATOMS * 3 * EXAMPLE_SLOTS, dtype=weight.dtype, device=weight.device)
    neighbor = torch.arange(EXAMPLE_ATOMS * EXAMPLE_SLOTS, device=weight.device) % EXAMPLE_ATOMS
    groups = ElementGrid.of(species)
    return (
        vectors.view(EXAMPLE_ATOMS, 3, EXAMPLE_SLOTS),
        neighbor.view(EXAMPLE_ATOMS, EXAMPLE_SLOTS),
        species,
        *((groups.present, groups.occupant, groups.place) if grid else ()),
    )
