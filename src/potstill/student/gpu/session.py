"""A student on a GPU: structures in, labels out; one CUDA graph copies, computes and fetches everything.

No step on the way waits for the host. The search for neighbors uses the memory that it was given and reports how much it
needed. It is repeated with more where that was too little.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import triton

from potstill.core.cpp import KernelError
from potstill.core.errors import PotstillError
from potstill.core.neighbors import SKIN_ANGSTROM
from potstill.core.stress import stress_of
from potstill.core.types import Array, Labels, Structure
from potstill.student.cuda_graphs import captured, warm_up
from potstill.student.gpu.buffers import Bucket, Inputs, Outputs
from potstill.student.gpu.launch import Precision, Program
from potstill.student.gpu.layout import Layout, lattices, reciprocals, rounded_up
from potstill.student.gpu.weights import gpu_weights
from potstill.student.model import Student
from potstill.student.uncertainty import Uncertainty

STALE, CROWDED = 1, 2  # flags of the status
CANDIDATES_AT_FIRST = 64  # per atom; raised where a search needs more
SLOTS = 6  # number of buckets whose memory and graphs are kept
VOIGT = [[1, 6, 5], [6, 2, 4], [5, 4, 3]]  # columns in a row of energy, xx, yy, zz, yz, xz, xy


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """Results of S structures and N atoms in the given order, on the host.

    Parameters
    ----------
    energy, virial
        (S,) and (S, 3, 3) eV, float64.
    forces
        (N, 3) eV/Å, float32.
    """

    energy: Array
    virial: Array
    forces: Array


class Slot:
    """Memory of one bucket on the GPU and on the host, and its graphs.

    Parameters
    ----------
    program
        Program with the memory of the GPU.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.on_card = program.inputs.memory.is_cuda
        self.given = Inputs(program.bucket, "cpu", pinned=self.on_card)
        self.found = Outputs(program.bucket, "cpu", pinned=self.on_card)
        self._graphs: dict[str, torch.cuda.CUDAGraph] = {}

    def run(self, what: str) -> None:
        """Enqueue one sequence of kernels; on a GPU as a graph, which is captured at its first use.

        ``label``: input from the host, search, answer to the host. ``step``: positions and cells from the host, the earlier
        candidates, answer to the host. ``search`` and ``evaluate``: on the GPU alone.
        """
        if not self.on_card:
            self._steps(what)
            return
        if what not in self._graphs:
            self._capture(what)
        self._graphs[what].replay()

    def wait(self) -> None:
        """Wait until the answer is on the host."""
        if self.on_card:
            torch.cuda.current_stream(self.program.inputs.memory.device).synchronize()

    def _capture(self, what: str) -> None:
        device, work = self.program.inputs.memory.device, partial(self._steps, what)
        warm_up(work, device)  # compiles the kernels that are not compiled yet
        self._graphs[what] = captured(work, device)

    def _steps(self, what: str) -> None:
        program = self.program
        if what == "label":
            program.inputs.memory.copy_(self.given.memory, non_blocking=True)
        elif what == "step":
            size = self.given.step_bytes
            program.inputs.memory[:size].copy_(self.given.memory[:size], non_blocking=True)
        if what in {"label", "search"}:
            program.search()
        if what == "step":
            program.outputs.status[:1].zero_()
        program.evaluate()
        if what in {"label", "step"}:
            self.found.memory.copy_(program.outputs.memory, non_blocking=True)


class GpuStudent:
    """A student with frozen weights for labels on a GPU.

    Parameters
    ----------
    student
        Student in float32 on a CUDA device; on a CPU only in Triton's interpreter, for tests.
    precision
        Precision of products: ``"ieee"`` or ``"tf32x3"``.

    Raises
    ------
    KernelError
        If the student is on another device, in another precision, or of sizes without a kernel, or Triton cannot start.
    """

    def __init__(self, student: Student, precision: Precision = "ieee") -> None:
        weight = student.embedding.weight
        interpreted = bool(triton.knobs.runtime.interpret)
        if weight.dtype != torch.float32 or not (weight.is_cuda or interpreted):
            raise KernelError(f"the GPU kernels need float32 on a CUDA device, found {weight.dtype} on {weight.device}")
        if student.architecture.l_max not in {2, 3}:
            raise KernelError(f"the GPU kernels need l_max 2 or 3, found {student.architecture.l_max}")
        if weight.is_cuda and torch.cuda.get_device_capability(weight.device) < (7, 0):
            raise KernelError("Triton needs a GPU of compute capability 7.0 or newer")
        if weight.is_cuda and not interpreted:
            _refuse_without_triton()
        self.architecture, self.precision = student.architecture, precision
        self.weights = gpu_weights(student)
        self.species_of = student.species_of.cpu().numpy()
        self._slots: OrderedDict[tuple[Bucket, float], Slot] = OrderedDict()
        self._per_atom = float(CANDIDATES_AT_FIRST)
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out memory, graphs and lock: copies and pickles make their own."""
        return {name: value for name, value in self.__dict__.items() if name not in {"_slots", "_lock"}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the state of a copy."""
        self.__dict__.update(state, _slots=OrderedDict(), _lock=threading.Lock())

    @property
    def device(self) -> torch.device:
        """Return the device of the weights."""
        return self.weights.embedding.device

    def layout(self, structures: Sequence[Structure]) -> Layout:
        """Return the layout of some structures."""
        numbers = np.concatenate([s.atomic_numbers for s in structures])
        return Layout(numbers, np.array([len(s) for s in structures]), self.species_of)

    def new_slot(self, layout: Layout, radius_angstrom: float, edges: int = 0) -> Slot:
        """Allocate memory for a layout, with room for ``edges`` candidates at least."""
        return Slot(Program(self.weights, self.architecture, self._bucket(layout, edges), self.precision, radius_angstrom))

    def _bucket(self, layout: Layout, edges: int) -> Bucket:
        atoms = rounded_up(layout.atoms)
        wanted = max(edges, int(self._per_atom * atoms))
        elements = len(self.weights.embedding)
        return Bucket(atoms, rounded_up(wanted, 1024), rounded_up(layout.structures, 1), elements)

    def _shared_slot(self, layout: Layout, radius: float, edges: int) -> Slot:
        key = (self._bucket(layout, edges), radius)
        if key not in self._slots:
            while len(self._slots) >= SLOTS:
                self._slots.popitem(last=False)
            try:
                self._slots[key] = self.new_slot(layout, radius, edges)
            except torch.cuda.OutOfMemoryError:
                self._slots.clear()
        if key not in self._slots:  # again, now that the exception no longer holds what was allocated
            torch.cuda.empty_cache()
            self._slots[key] = self.new_slot(layout, radius, edges)
        self._slots.move_to_end(key)
        return self._slots[key]

    def learn(self, layout: Layout, candidates: int) -> None:
        """Reserve for later batches as many candidates per atom as this one needed, and some more."""
        self._per_atom = max(self._per_atom, 1.15 * candidates / max(layout.atoms, 1))

    def evaluate(self, layout: Layout, positions: Array, lattice: Array) -> tuple[Answer, Slot]:
        """Compute energies, forces and virials with a search; return also the slot with the last features.

        Parameters
        ----------
        layout
            Layout of the structures.
        positions
            Positions (N, 3) in Å.
        lattice
            Cells (S, 3, 3) in Å, rows; zero where not periodic.
        """
        edges = 0
        while True:
            slot = self._shared_slot(layout, self.architecture.cutoff_angstrom, edges)
            layout.write(slot.given, slot.program.bucket)
            place(slot, positions, lattice, reciprocals(lattice))
            slot.run("label")
            slot.wait()
            edges = wanted_edges(slot)
            if edges <= slot.program.bucket.edges:
                return answer(slot, layout), slot
            self.learn(layout, edges)

    def label(self, structures: Sequence[Structure], uncertainty: Uncertainty | None = None) -> list[Labels]:
        """Label structures of known elements as one batch.

        Parameters
        ----------
        structures
            Structures to label, at least one.
        uncertainty
            Model of the expected error of each force; none is computed where None.
        """
        layout, lattice = self.layout(structures), lattices(structures)
        with self._lock:  # threads share the memory of a batch
            found, slot = self.evaluate(layout, np.concatenate([s.positions for s in structures]), lattice)
            errors = None if uncertainty is None else expected_errors(slot, layout, uncertainty)
        return labels_of(structures, layout, found, errors)

    def stepper(self, skin_angstrom: float = SKIN_ANGSTROM) -> GpuStepper:
        """Return a stepper for one system, called step after step."""
        return GpuStepper(self, skin_angstrom)


class GpuStepper:
    """Labels of one system whose atoms move a little between calls, so that one search serves many calls.

    Parameters
    ----------
    student
        Student on a GPU.
    skin_angstrom
        Distance in Å by which the radius of the search exceeds the cutoff.

    Attributes
    ----------
    calls, searches
        Number of calls, and number of calls with a search.
    """

    def __init__(self, student: GpuStudent, skin_angstrom: float = SKIN_ANGSTROM) -> None:
        self.student, self.radius = student, student.architecture.cutoff_angstrom + skin_angstrom
        self.calls = self.searches = 0
        self._slot: Slot | None = None
        self._layout: Layout | None = None
        self._known: tuple[Array, Array] | None = None  # atomic numbers and pbc of the layout
        self._lattice = self._reciprocal = np.zeros((1, 3, 3))

    def __getstate__(self) -> dict[str, Any]:
        """Leave out memory and graphs: copies and pickles begin with a search."""
        return {**self.__dict__, "_slot": None, "_layout": None, "_known": None}

    def __call__(self, structure: Structure, uncertainty: Uncertainty | None = None) -> Labels:
        """Return the labels of the structure."""
        self.calls += 1
        lattice = np.where(structure.pbc[:, None], structure.cell, 0.0)[None]
        if not np.array_equal(lattice, self._lattice):
            self._lattice, self._reciprocal = lattice, reciprocals(lattice)
        known = self._known
        same = known is not None and np.array_equal(known[0], structure.atomic_numbers)
        if not same or known is None or not np.array_equal(known[1], structure.pbc):
            self._known, self._layout = (structure.atomic_numbers, structure.pbc), self.student.layout([structure])
            self._search(structure)
        else:
            slot = self._slot
            if slot is None:
                raise PotstillError("a system that was never searched: this is a bug")
            place(slot, structure.positions, lattice, self._reciprocal)
            slot.run("step")
            slot.wait()
            if int(slot.found.status.numpy()[0]):
                self._search(structure)
        slot, layout = self._slot, self._layout
        if slot is None or layout is None:
            raise PotstillError("a search left nothing: this is a bug")
        errors = None if uncertainty is None else expected_errors(slot, layout, uncertainty)
        return labels_of([structure], layout, answer(slot, layout), errors)[0]

    def _search(self, structure: Structure) -> None:
        self.searches += 1
        layout = self._layout
        if layout is None:
            raise PotstillError("a system without a layout: this is a bug")
        edges = 0
        while True:
            slot = self._slot
            if slot is None or edges > slot.program.bucket.edges or layout.atoms > slot.program.bucket.atoms:
                slot = self._slot = self.student.new_slot(layout, self.radius, edges)
            layout.write(slot.given, slot.program.bucket)
            place(slot, structure.positions, self._lattice, self._reciprocal)
            slot.run("label")
            slot.wait()
            edges = wanted_edges(slot)
            if edges <= slot.program.bucket.edges:
                return


def _refuse_without_triton() -> None:
    """Raise KernelError where Triton cannot start, while other code can still take over."""
    try:
        triton.runtime.driver.active.get_current_target()
    except Exception as error:
        raise KernelError(
            f"Triton cannot start ({type(error).__name__}: {error}); it needs a C compiler and the headers of Python, "
            "such as the packages gcc and python3-dev"
        ) from error


def place(slot: Slot, positions: Array, lattice: Array, reciprocal: Array) -> None:
    """Write positions and cells for the next run."""
    slot.given.positions.numpy()[: len(positions)] = positions
    slot.given.lattice.numpy()[: len(lattice)] = lattice
    slot.given.reciprocal.numpy()[: len(lattice)] = reciprocal


def wanted_edges(slot: Slot) -> int:
    """Return the number of candidates that the last search found, including those beyond the memory.

    Raises
    ------
    PotstillError
        If a cell is so small that an atom has more than 500 images in a direction within the cutoff.
    """
    flags, count = slot.found.status.tolist()
    if flags & CROWDED:
        raise PotstillError("a cell is so small that the cutoff reaches more than 500 of its images in one direction")
    return int(count)


def answer(slot: Slot, layout: Layout) -> Answer:
    """Return the answer that was copied to the host."""
    found = slot.found.found.numpy()[: layout.structures].copy()
    return Answer(found[:, 0], found[:, VOIGT], slot.found.forces.numpy()[: layout.atoms].copy())


def expected_errors(slot: Slot, layout: Layout, uncertainty: Uncertainty) -> Array:
    """Return (N,) expected errors in eV/Å in the given order, from the last features of the last run."""
    features = slot.program.features[: layout.atoms]
    forces = slot.found.forces[: layout.atoms][torch.from_numpy(layout.order).long()].to(features)
    errors = uncertainty.expected_errors(features, forces, slot.program.neighbor_means)
    return np.asarray(errors.double().cpu().numpy()[layout.place])


def labels_of(structures: Sequence[Structure], layout: Layout, found: Answer, errors: Array | None) -> list[Labels]:
    """Return the labels of each structure."""
    forces, ptr = found.forces.astype(np.float64), layout.ptr.tolist()
    labels = []
    for k, structure in enumerate(structures):
        atoms = slice(ptr[k], ptr[k + 1])
        labels.append(
            Labels(
                energy=float(found.energy[k]),
                forces=forces[atoms],
                stress=stress_of(found.virial[k], structure.cell),
                extra={} if errors is None else {"uncertainty": errors[atoms]},
            )
        )
    return labels
