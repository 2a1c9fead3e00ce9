"""The student in TorchSim: a model for any number of systems at once, each with a neighbor list of its own.

Takes a ``SimState`` in Å. Returns energies in eV, forces in eV/Å and stresses in eV/Å^3 in the precision of the state.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from potstill.core.errors import StructureError
from potstill.core.neighbors import VerletList
from potstill.core.registry import borrow
from potstill.core.types import Array, Structure
from potstill.deploy.domain_warnings import Watch
from potstill.deploy.engine import VACUUM_CUTOFFS, in_periodic_box
from potstill.deploy.student import DeployedStudent

if TYPE_CHECKING:
    from potstill.student.gpu.session import GpuStudent
    from potstill.student.gpu.systems import Systems

borrow("torch_sim", "engines", "the export to TorchSim")

from torch_sim.models.interface import ModelInterface  # noqa: E402 - only after a kind word on what to install
from torch_sim.state import SimState  # noqa: E402

log = logging.getLogger(__name__)


class StudentModel(ModelInterface):  # type: ignore[misc]  # Any where it is missing
    """A student for ``torch_sim.integrate``, ``optimize`` and ``static``.

    Parameters
    ----------
    student
        Student of :func:`potstill.load_student`; it computes on its own device and in its own precision.
    dtype
        Precision of states and answers: positions in float64 keep MD exact, whatever the precision of the student.
    """

    def __init__(self, student: DeployedStudent, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.student = student
        self._device, self._dtype = torch.device(student.device), dtype
        self._compute_stress = self._compute_forces = True
        self._neighbors: list[VerletList] = []
        self._watches: list[Watch] = []
        self._warned = False
        self._systems: tuple[tuple[Any, ...], Systems] | None = None

    def forward(self, state: SimState | dict[str, Any], **_: Any) -> dict[str, torch.Tensor]:
        """Return energy (s,), forces (n, 3) and stress (s, 3, 3); the stress of a cell without volume is NaN.

        Raises
        ------
        StructureError
            If a periodic cell is left-handed: TorchSim takes its volume for negative.
        """
        if isinstance(state, dict):
            state = SimState(**state, masses=torch.ones_like(state["positions"][:, 0]))
        if self.student.gpu is not None:
            return self._on_card(state, self.student.gpu)
        _refuse_left_handed(state)
        structures = _structures(state)
        self._warn_of_lost_axes(structures)
        while len(self._neighbors) < len(structures):
            self._neighbors.append(VerletList(self.student.cutoff_angstrom))
            self._watches.append(Watch(self.student))
        found = [search(s.positions, s.cell, s.pbc) for search, s in zip(self._neighbors, structures, strict=False)]
        told = any(watch.wants_errors for watch in self._watches[: len(structures)])
        labels = self.student.label(structures, neighbors=found, uncertainty=told)
        for watch, structure, neighbors, answer in zip(self._watches, structures, found, labels, strict=False):
            watch(structure, neighbors, answer.extra.get("uncertainty"))
        stress = np.stack([np.full((3, 3), np.nan) if x.stress is None else x.stress for x in labels])
        answers = {
            "energy": np.array([x.energy for x in labels]),
            "forces": np.concatenate([x.forces for x in labels]),
            "stress": stress,
        }
        return {name: torch.as_tensor(x, dtype=self._dtype, device=self._device) for name, x in answers.items()}

    def _expected_errors(self, structures: Sequence[Structure]) -> list[Array | None]:
        """Return the expected errors of each structure in eV/Å; None where the student predicts none."""
        if self.student.uncertainty is None:
            return [None] * len(structures)
        return [labels.extra["uncertainty"] for labels in self.student.label(structures, uncertainty=True)]

    def _warn_of_lost_axes(self, structures: list[Structure]) -> None:
        if not self._warned and any(s.cell.any() and not s.pbc.any() for s in structures):
            self._warned = True
            log.warning(
                "a system has a cell and no periodic axis: atoms_to_state of TorchSim makes slabs and wires so\n"
                "  keep their axes with:  potstill.deploy.torchsim.make_state(structures, model)"
            )

    def _on_card(self, state: SimState, student: GpuStudent) -> dict[str, torch.Tensor]:
        """Compute the same without a detour over the host; only new systems are checked for their domain."""
        key = (state.atomic_numbers, state.system_idx, tuple(np.broadcast_to(np.asarray(state.pbc), 3).tolist()))
        known = self._systems
        if known is None or known[0][2] != key[2] or not all(map(torch.equal, known[0][:2], key[:2])):
            _refuse_left_handed(state)  # of new systems only, for the answer waits for the card
            structures = _structures(state)
            for structure in structures:
                self.student.refuse_unknown(structure)
            for structure, expected in zip(structures, self._expected_errors(structures), strict=True):
                Watch(self.student)(structure, None, expected)
            from potstill.student.gpu.systems import Systems

            known = self._systems = ((key[0].clone(), key[1].clone(), key[2]), Systems(student, structures))
        systems = known[1]
        systems(state.positions, state.row_vector_cell)
        answers = {"energy": systems.energy, "forces": systems.forces, "stress": systems.stress}
        return {name: x.to(self._dtype, copy=True) for name, x in answers.items()}


def make_state(structures: Sequence[Structure], model: StudentModel) -> Any:
    """Return the ``SimState`` of structures, slabs and wires included.

    TorchSim 0.3 knows systems that are periodic along all axes or none; its own ``atoms_to_state`` makes a slab a cluster.
    Here structures periodic along one or two axes are turned and get vacuum along the others, as in OpenMM. A left-handed
    cell gets the opposite lattice vectors, which span the same lattice.

    Parameters
    ----------
    structures
        At least one; all of them with periodic axes, or none.
    model
        Model that the state is for.
    """
    mixed = [s.pbc.any() and not s.pbc.all() for s in structures]
    vacuum = VACUUM_CUTOFFS * model.student.cutoff_angstrom
    boxed = [in_periodic_box(s, vacuum) if m else _right_handed(s) for s, m in zip(structures, mixed, strict=True)]
    io = borrow("torch_sim.io", "engines", "the export to TorchSim")
    return io.atoms_to_state([s.to_ase() for s in boxed], model.device, model.dtype)


def _right_handed(structure: Structure) -> Structure:
    if structure.pbc.all() and np.linalg.det(structure.cell) < 0:
        return structure.with_(cell=-structure.cell)
    return structure


def _refuse_left_handed(state: SimState) -> None:
    """Raise StructureError for a periodic cell of negative determinant: TorchSim's relaxations and barostats diverge."""
    if not np.asarray(state.pbc).any():
        return
    a, b, c = state.row_vector_cell.unbind(dim=1)
    left = (a * torch.linalg.cross(b, c)).sum(dim=-1) < 0
    if left.any():
        raise StructureError(
            f"the cell of system {int(left.nonzero()[0])} is left-handed: TorchSim takes its volume for negative\n"
            "  turn it with:  atoms.set_cell(-atoms.cell), which spans the same lattice; or make the state with "
            "potstill.deploy.torchsim.make_state(structures, model)"
        )


def _structures(state: SimState) -> list[Structure]:
    positions = state.positions.detach().double().cpu().numpy()
    cells = state.row_vector_cell.detach().double().cpu().numpy()
    numbers = state.atomic_numbers.cpu().numpy()
    pbc = np.broadcast_to(np.asarray(state.pbc), 3)
    ends = np.cumsum(np.bincount(state.system_idx.cpu().numpy(), minlength=len(cells)))[:-1]
    parts = zip(np.split(numbers, ends), np.split(positions, ends), cells, strict=True)
    return [Structure(z, x, cell, pbc) for z, x, cell in parts]
