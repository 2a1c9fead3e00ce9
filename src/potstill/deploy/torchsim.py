"""The student in TorchSim: a model for any number of systems at once, each with a neighbor list of its own.

Takes a ``SimState`` in Å. Returns energies in eV, forces in eV/Å and stresses in eV/Å^3 in the precision of the state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from potstill.core.neighbors import VerletList
from potstill.core.registry import borrow
from potstill.core.types import Structure
from potstill.deploy.domain_warnings import Watch
from potstill.deploy.student import DeployedStudent

if TYPE_CHECKING:
    from potstill.student.gpu.session import GpuStudent
    from potstill.student.gpu.systems import Systems

borrow("torch_sim", "engines", "the export to TorchSim")

from torch_sim.models.interface import ModelInterface  # noqa: E402 - only after a kind word on what to install
from torch_sim.state import SimState  # noqa: E402


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
        self._systems: tuple[tuple[Any, ...], Systems] | None = None

    def forward(self, state: SimState | dict[str, Any], **_: Any) -> dict[str, torch.Tensor]:
        """Return energy (s,), forces (n, 3) and stress (s, 3, 3); the stress of a cell without volume is NaN."""
        if isinstance(state, dict):
            state = SimState(**state, masses=torch.ones_like(state["positions"][:, 0]))
        if self.student.gpu is not None:
            return self._on_card(state, self.student.gpu)
        structures = _structures(state)
        while len(self._neighbors) < len(structures):
            self._neighbors.append(VerletList(self.student.cutoff_angstrom))
            self._watches.append(Watch(self.student))
        found = [search(s.positions, s.cell, s.pbc) for search, s in zip(self._neighbors, structures, strict=False)]
        labels = self.student.label(structures, neighbors=found)
        for watch, structure, neighbors in zip(self._watches, structures, found, strict=False):
            watch(structure, neighbors)
        stress = np.stack([np.full((3, 3), np.nan) if x.stress is None else x.stress for x in labels])
        answers = {
            "energy": np.array([x.energy for x in labels]),
            "forces": np.concatenate([x.forces for x in labels]),
            "stress": stress,
        }
        return {name: torch.as_tensor(x, dtype=self._dtype, device=self._device) for name, x in answers.items()}

    def _on_card(self, state: SimState, student: GpuStudent) -> dict[str, torch.Tensor]:
        """Compute the same without a detour over the host; only new systems are checked for their domain."""
        key = (state.atomic_numbers, state.system_idx, tuple(np.broadcast_to(np.asarray(state.pbc), 3).tolist()))
        known = self._systems
        if known is None or known[0][2] != key[2] or not all(map(torch.equal, known[0][:2], key[:2])):
            structures = _structures(state)
            for structure in structures:
                self.student.refuse_unknown(structure)
                Watch(self.student)(structure, None)
            from potstill.student.gpu.systems import Systems

            known = self._systems = ((key[0].clone(), key[1].clone(), key[2]), Systems(student, structures))
        systems = known[1]
        systems(state.positions, state.row_vector_cell)
        answers = {"energy": systems.energy, "forces": systems.forces, "stress": systems.stress}
        return {name: x.to(self._dtype, copy=True) for name, x in answers.items()}


def _structures(state: SimState) -> list[Structure]:
    positions = state.positions.detach().double().cpu().numpy()
    cells = state.row_vector_cell.detach().double().cpu().numpy()
    numbers = state.atomic_numbers.cpu().numpy()
    pbc = np.broadcast_to(np.asarray(state.pbc), 3)
    ends = np.cumsum(np.bincount(state.system_idx.cpu().numpy(), minlength=len(cells)))[:-1]
    parts = zip(np.split(numbers, ends), np.split(positions, ends), cells, strict=True)
    return [Structure(z, x, cell, pbc) for z, x, cell in parts]
