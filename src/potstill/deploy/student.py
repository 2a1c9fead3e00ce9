"""A trained student, ready for use: labels for structures, and an ASE calculator."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch

from potstill.core.batch import make_batch
from potstill.core.elements import symbols_of
from potstill.core.errors import InputError
from potstill.core.neighbors import Neighbors, structure_neighbors
from potstill.core.precision import float32_products, own_defaults, own_modes
from potstill.core.stress import stress_of
from potstill.core.threads import survive_fork
from potstill.core.types import Array, Batch, Labels, Structure
from potstill.deploy.stated_verdict import stated_verdict
from potstill.student.backends import gpu_student
from potstill.student.domain import Domain
from potstill.student.files import count_parameters, read_student
from potstill.student.fused import FusedKernel, kernel_of
from potstill.student.model import Kernel, Student
from potstill.student.options import Backend
from potstill.student.shipped import student_folder
from potstill.student.uncertainty import Means, Neighborhood, Uncertainty, read_uncertainty

if TYPE_CHECKING:
    from potstill.deploy.ase import StudentCalculator


log = logging.getLogger(__name__)
FAR_BEYOND = 3.0  # times the threshold of an expected error: atoms of MD like that of the calibration stay below


class DeployedStudent:
    """A student with its weights, on a device, in one precision.

    Parameters
    ----------
    student
        Student, ready to evaluate.
    config
        Contents of its ``config.json``.
    device
        Torch device.
    dtype
        ``torch.float32``, or ``torch.float64`` for finite differences and phonons. Energies are summed in float64.
    backend
        ``"fused"``: the C++ kernel, for float32 on a CPU, compiled at its first use on a machine (some ten seconds).
        ``"gpu"``: Triton kernels, for float32 on a CUDA device. ``"torch"``: plain PyTorch. ``"auto"``: the fastest that
        the device has; the log ``potstill`` says why where that is PyTorch.
    uncertainty
        Model of its expected errors; None where it was trained without.

    Raises
    ------
    KernelError
        If the backend is ``"fused"`` or ``"gpu"`` and it cannot run; the message says why.
    """

    def __init__(
        self,
        student: Student,
        config: dict[str, Any],
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        backend: Backend = "auto",
        uncertainty: Uncertainty | None = None,
    ) -> None:
        survive_fork()
        references = student.reference_energies
        self.model = student.to(device=device, dtype=dtype)
        self.model.reference_energies = references.to(device)  # kept in float64
        self.config = config
        self.domain = Domain.read(config)
        self.device = device
        self.dtype = dtype
        self.gpu = gpu_student(self.model, backend)
        self._kernel = None if self.gpu else kernel_of(self.model, backend, FusedKernel)
        self.uncertainty = None if uncertainty is None else uncertainty.to(device, dtype)

    @property
    def backend(self) -> Backend:
        """Return the backend in use: ``"fused"``, ``"gpu"`` or ``"torch"``."""
        if self.gpu is not None:
            return "gpu"
        return "fused" if isinstance(self._kernel, FusedKernel) else "torch"

    def use(self, kernel: Kernel) -> None:
        """Use another kernel from now on, such as a compiled file."""
        self.gpu, self._kernel = None, kernel

    @property
    def elements(self) -> list[str]:
        """Return the chemical symbols of its training data."""
        return list(self.config["elements"])

    @property
    def cutoff_angstrom(self) -> float:
        """Return the radius of the atomic environment in Å."""
        return self.model.architecture.cutoff_angstrom

    @property
    def parameters(self) -> int:
        """Return the number of trained parameters."""
        return count_parameters(self.model)

    def label(
        self,
        structures: Sequence[Structure],
        *,
        neighbors: Sequence[Neighbors] | None = None,
        uncertainty: bool = False,
    ) -> list[Labels]:
        """Compute energy, forces and stress of structures as one batch.

        Stress is returned where the cell has a volume, whatever the periodic axes. For a slab in a cell with vacuum it is
        the virial over the volume of that cell, vacuum included, as in ASE and LAMMPS.

        Parameters
        ----------
        structures
            Structures to label, at least one.
        neighbors
            Neighbor lists with the student's cutoff, one per structure; made here where None.
        uncertainty
            Whether to return the expected error of each force in eV/Å as well, as ``extra["uncertainty"]``.

        Raises
        ------
        InputError
            If there is no structure, one is of another type or contains an element outside the training data, or the
            student predicts no uncertainty.
        """
        if uncertainty and self.uncertainty is None:
            raise InputError(
                "this student predicts no uncertainty: it was trained without it\n"
                "  train it again with  train.uncertainty: true"
            )
        structures = _checked(structures)
        for structure in structures:
            self.refuse_unknown(structure)
        with float32_products(), own_modes(torch.device(self.device).type):
            if self.gpu is not None:  # makes its own neighbor lists
                return self.gpu.label(structures, self.uncertainty if uncertainty else None)
            return self._label(structures, neighbors, uncertainty=uncertainty)

    def _label(
        self, structures: Sequence[Structure], neighbors: Sequence[Neighbors] | None, *, uncertainty: bool
    ) -> list[Labels]:
        batch = make_batch(structures, self.cutoff_angstrom, neighbors=neighbors, dtype=self.dtype).to(self.device)
        predicted = self.model.predict(batch, kernel=self._kernel, features=uncertainty)
        errors = None
        if self.uncertainty is not None and predicted.features is not None:
            expected = self.uncertainty.expected_errors(predicted.features, predicted.forces, self._means(batch))
            errors = expected.double().cpu().numpy()
        energy = predicted.energy.tolist()
        forces = predicted.forces.double().cpu().numpy()
        virial = predicted.virial.double().cpu().numpy()
        ptr = batch.ptr.cpu().numpy()
        return [
            Labels(
                energy=energy[k],
                forces=forces[ptr[k] : ptr[k + 1]],
                stress=stress_of(virial[k], s.cell),
                extra={} if errors is None else {"uncertainty": errors[ptr[k] : ptr[k + 1]]},
            )
            for k, s in enumerate(structures)
        ]

    def _means(self, batch: Batch) -> Means:
        """Return what takes means over neighbors, which students of earlier versions do without."""
        return lambda values: Neighborhood.of(batch.edge_index, batch.edge_vectors, self.cutoff_angstrom).means(values)

    def refuse_unknown(self, structure: Structure) -> None:
        """Raise InputError where a structure contains an element outside the training data."""
        known = set(self.model.architecture.atomic_numbers)
        unknown = set(np.unique(structure.atomic_numbers).tolist()) - known
        if unknown:
            raise InputError(
                f"this student was not trained on {', '.join(symbols_of(unknown))}; it supports {', '.join(self.elements)}\n"
                "  add structures with that element to its dataset and train again"
            )

    def foreign(self, structure: Structure, neighbors: Neighbors | None = None) -> list[str]:
        """Return one sentence per departure from the training data, the largest expected error included.

        That error counts where it is more than three times the student's threshold, which 95 % of the atoms that it was
        calibrated with do not exceed. The list is also empty for a student that states neither a domain nor expected errors.

        Parameters
        ----------
        structure
            Structure of elements that the student supports.
        neighbors
            Its neighbor list within the student's cutoff; made here where None.
        """
        near = neighbors or structure_neighbors(structure, self.cutoff_angstrom)
        found = self.outside_domain(structure, near)
        if self.uncertainty is not None:
            (labels,) = self.label([structure], neighbors=[near], uncertainty=True)
            found += self.beyond_threshold(labels.extra["uncertainty"])
        return found

    def outside_domain(self, structure: Structure, neighbors: Neighbors | None = None) -> list[str]:
        """Return one sentence per departure from distances, neighbors and compositions of the training data.

        See :mod:`potstill.student.domain`; a neighbor list within the cutoff is made where None.
        """
        if self.domain is None:
            return []
        return self.domain.foreign(structure, neighbors or structure_neighbors(structure, self.cutoff_angstrom))

    def beyond_threshold(self, expected: Array) -> list[str]:
        """Return a sentence on the largest of (n,) expected errors in eV/Å if it is far above the threshold."""
        if self.uncertainty is None:
            return []
        threshold, worst = float(self.uncertainty.threshold), int(np.argmax(expected))
        error = float(expected[worst])
        if not error > FAR_BEYOND * threshold:
            return []
        times = f"{error / threshold:.1f} times the student's threshold"
        return [f"the force on atom {worst} has an expected error of {error:.2f} eV/Å, {times}"]

    def calculator(self) -> StudentCalculator:
        """Return an ASE calculator: energy, forces, stress where the cell has a volume, and expected errors if predicted."""
        from potstill.deploy.ase import StudentCalculator

        return StudentCalculator(self)


def load_student(
    path: Path | str, *, device: str = "cpu", dtype: str = "float32", backend: Backend = "auto"
) -> DeployedStudent:
    """Load a student; the log ``potstill`` says where its export states another verdict than GO.

    Parameters
    ----------
    path
        ``student/`` of a run, the run folder itself, an exported folder, or the name of a student that comes with the
        package, such as ``"general"``.
    device
        Torch device.
    dtype
        ``"float32"`` or ``"float64"``.
    backend
        ``"auto"``, ``"fused"``, ``"gpu"`` or ``"torch"``, see :class:`DeployedStudent`.

    Raises
    ------
    InputError
        If there is no student, the dtype or backend is unknown, or the device is not there.
    KernelError
        If the backend is ``"fused"`` or ``"gpu"`` and it cannot run.
    """
    if dtype not in ("float32", "float64"):
        raise InputError(f"dtype must be 'float32' or 'float64', found '{dtype}'")
    if backend not in get_args(Backend):
        raise InputError(f"backend must be 'auto', 'fused', 'gpu' or 'torch', found '{backend}'")
    _refuse_device(device)
    folder = student_folder(path)
    verdict = stated_verdict(folder)
    if verdict and not verdict.startswith("GO"):
        log.warning("%s: %s", folder, verdict)
    return open_student(folder, device=device, dtype=dtype, backend=backend)


def open_student(folder: Path, *, device: str = "cpu", dtype: str = "float32", backend: Backend = "auto") -> DeployedStudent:
    """Load the student in a folder for its evaluation, without a word of its verdict; see :func:`load_student`."""
    with own_defaults():
        student, config = read_student(folder)
        uncertainty = read_uncertainty(folder, student.architecture.hidden, config.get("uncertainty"))
        return DeployedStudent(student, config, device, getattr(torch, dtype), backend, uncertainty)


def _checked(structures: Structure | Iterable[Structure]) -> list[Structure]:
    """Return the structures of one call as a list.

    Raises
    ------
    InputError
        If there is none, or one is no :class:`~potstill.core.types.Structure`.
    """
    found = [structures] if isinstance(structures, Structure) else list(structures)
    other = next((x for x in found if not isinstance(x, Structure)), None)
    if found and other is None:
        return found
    fact = "found none" if not found else f"found {type(other).__name__}"
    raise InputError(
        f"expected one or more structures, {fact}\n  make them of atoms of ASE by  potstill.Structure.from_ase(atoms)"
    )


def _refuse_device(device: str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        fact = str(error).strip().partition("\n")[0]
        raise InputError(
            f"device '{device}' cannot be used here: {fact}\n  expected 'cpu', or a GPU such as 'cuda'"
        ) from error


def student_calculator(path: Path | str = "general", *, dtype: str = "float32") -> StudentCalculator:
    """Return the ASE calculator of a student; with its name as teacher, a student moves the atoms of a source.

    The config of such a source has ``teacher: {name: ase, calculator: "potstill.deploy:student_calculator"}``.

    Parameters
    ----------
    path, dtype
        As in :func:`load_student`.

    Raises
    ------
    InputError
        If there is no student, or the dtype is unknown.
    """
    return load_student(path, dtype=dtype).calculator()
