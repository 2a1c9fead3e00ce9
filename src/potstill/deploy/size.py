"""Size and cost of a student: parameters by part, arithmetic per atom, its speed on this machine."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import ase.data
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from potstill.core.batch import make_batch
from potstill.core.counts import several
from potstill.core.cpp import KernelError
from potstill.core.elements import covalent_radii, symbols_of
from potstill.core.types import Batch, Structure
from potstill.deploy.student import DeployedStudent
from potstill.student.files import count_parameters
from potstill.student.fused import FusedKernel
from potstill.student.model import Student
from potstill.student.options import StudentArchitecture, StudentConfig, refuse_outside

CELLS = 3  # number of diamond cells along each axis: 216 atoms
REPEATS = 7
LAST_ELEMENT = 94
BOND = 1.06  # bond length over the sum of covalent radii, as between silicon atoms in diamond


@dataclass(frozen=True, slots=True)
class StudentSize:
    """Size and cost of the student of a config.

    Parameters
    ----------
    parameters
        Number of trained parameters.
    parts
        Number of parameters by part: embedding, radial weights, mixtures of densities, networks per atom (experts), rest.
    flops_per_atom
        Floating-point operations of the matrix products for energy and forces, two for each multiplication and addition.
    neighbors_per_atom
        Neighbors per atom in the structure that was timed.
    weight_megabytes
        Size of the weights in float32.
    kernel_kilobytes_per_atom
        Working memory of the fused kernel for that structure, or None where the kernel cannot run.
    atoms
        Number of atoms in that structure.
    seconds
        Median time of energy, forces and stress of that structure in s, neighbor list included, by backend.
    threads
        Number of threads of PyTorch and the fused kernel.
    """

    parameters: int
    parts: dict[str, int]
    flops_per_atom: float
    neighbors_per_atom: float
    weight_megabytes: float
    kernel_kilobytes_per_atom: float | None
    atoms: int
    seconds: dict[str, float]
    threads: int


def measure_size(config: StudentConfig, symbols: Sequence[str]) -> StudentSize:
    """Build a student with random weights, count its parameters and time it.

    Parameters
    ----------
    config
        Section ``student``.
    symbols
        Elements that it supports; all up to plutonium where empty.

    Raises
    ------
    InputError
        If its number of parameters is outside ``parameters_between``.
    """
    numbers = sorted(ase.data.atomic_numbers[s] for s in symbols) or range(1, LAST_ELEMENT + 1)
    architecture = StudentArchitecture(**config.model_dump(), atomic_numbers=tuple(numbers))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        student = Student(architecture).eval().requires_grad_(requires_grad=False)
    parameters = count_parameters(student)
    refuse_outside(config, parameters)
    structure = _diamond(architecture.atomic_numbers)
    batch = make_batch([structure], architecture.cutoff_angstrom)
    known = {"elements": symbols_of(architecture.atomic_numbers)}
    seconds: dict[str, float] = {}
    for backend in ("auto", "torch"):
        deployed = DeployedStudent(student, known, backend=backend)
        seconds[deployed.backend] = _median(deployed, structure)
    return StudentSize(
        parameters=parameters,
        parts=_parts(student),
        flops_per_atom=_flops(student, batch) / len(structure),
        neighbors_per_atom=batch.edge_index.shape[1] / len(structure),
        weight_megabytes=4e-6 * parameters,
        kernel_kilobytes_per_atom=_kernel_kilobytes(student, batch),
        atoms=len(structure),
        seconds=seconds,
        threads=torch.get_num_threads(),
    )


def _kernel_kilobytes(student: Student, batch: Batch) -> float | None:
    try:
        kernel = FusedKernel(student)
    except KernelError:
        return None
    with ThreadPoolExecutor(1) as pool:  # a new thread holds no memory of earlier calls
        pool.submit(student.predict, batch, kernel=kernel).result()
        held: int = pool.submit(kernel.bytes_held).result()
    return 1e-3 * held / len(batch.atomic_numbers)


def _parts(student: Student) -> dict[str, int]:
    kinds = {
        "embedding": ("embedding.",),
        "radial weights": ("radial.",),
        "mixtures of densities": ("mix",),
        "networks per atom": ("hidden.", "out.", "readout."),
    }
    counts = dict.fromkeys([*kinds, "the rest"], 0)
    for name, parameter in student.named_parameters():
        kind = next((k for k, words in kinds.items() if any(word in name for word in words)), "the rest")
        counts[kind] += parameter.numel()
    return counts


def _flops(student: Student, batch: Batch) -> int:
    student.predict(batch)  # mixes the experts, once
    grouped = {torch.ops.aten._grouped_mm: grouped_flops}  # the counter does not know this operator
    with FlopCounterMode(display=False, custom_mapping=grouped) as counter:
        student.predict(batch)
    return counter.get_total_flops()


def grouped_flops(x: Sequence[int], matrices: Sequence[int], *_: Any, **__: Any) -> int:
    """Count the operations of groups of rows, each times its own matrix, without derivatives by the frozen matrices."""
    return 2 * x[0] * x[1] * matrices[2]


def _diamond(atomic_numbers: Sequence[int]) -> Structure:
    """Return 216 atoms in a rattled diamond lattice of one element, carbon or silicon if supported."""
    element = next((z for z in (14, 6) if z in atomic_numbers), atomic_numbers[0])
    corners = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    basis = np.concatenate([corners, corners + 0.25])
    cells = np.stack(np.meshgrid(*[np.arange(CELLS)] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    length = 2 * float(covalent_radii()[element]) * BOND * 4 / 3**0.5
    positions = ((cells + basis).reshape(-1, 3)) * length
    positions = positions + np.random.default_rng(0).normal(scale=0.02 * length, size=positions.shape)
    return Structure(
        id="diamond",
        atomic_numbers=np.full(len(positions), element),
        positions=positions,
        cell=np.eye(3) * CELLS * length,
        pbc=np.ones(3, dtype=bool),
    )


def _median(student: DeployedStudent, structure: Structure) -> float:
    times = []
    for _ in range(REPEATS + 1):
        started = perf_counter()
        student.label([structure])
        times.append(perf_counter() - started)
    return statistics.median(times[1:])


def print_size(size: StudentSize, config: StudentConfig, console: Console) -> None:
    """Print the size as a table."""
    table = Table(title=f"student, tier {config.tier}, cutoff {config.cutoff_angstrom:g} Å", show_header=False)
    table.add_row("parameters", f"{size.parameters / 1e6:.2f} million ({size.weight_megabytes:.0f} MB)")
    for part, count in size.parts.items():
        table.add_row(f"  {part}", f"{count / 1e6:.3f} million")
    neighbors = f"{size.neighbors_per_atom:.0f} neighbors"
    table.add_row("matrix products", f"{size.flops_per_atom / 1e6:.1f} MFLOP per atom ({neighbors}), energy and forces")
    if size.kernel_kilobytes_per_atom is not None:
        table.add_row("memory, fused", f"{size.kernel_kilobytes_per_atom:.1f} kB per atom, beside the neighbor list")
    for backend, seconds in size.seconds.items():
        rate = f"{size.atoms / seconds:,.0f} atoms/s"
        table.add_row(
            f"speed, {backend}", f"{1e3 * seconds:.2f} ms for {size.atoms} atoms, {several(size.threads, 'thread')}: {rate}"
        )
    console.print(table)
