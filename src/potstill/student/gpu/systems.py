"""Systems in the memory of the GPU: tensors in, tensors out, any number of systems in one call."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from potstill.core.errors import PotstillError
from potstill.core.neighbors import SKIN_ANGSTROM
from potstill.core.types import Structure
from potstill.student.gpu.session import CROWDED, STALE, GpuStudent, Slot

VOIGT = [[1, 6, 5], [6, 2, 4], [5, 4, 3]]


class Systems:
    """S systems of N atoms in sum; the candidates of a search are used until an atom has moved far enough.

    Parameters
    ----------
    student
        Student on a GPU.
    structures
        Atoms, positions, cells and periodic axes at the start.
    skin_angstrom
        Distance in Å by which the radius of the search exceeds the cutoff.

    Attributes
    ----------
    searches
        Number of searches for candidates.
    """

    def __init__(self, student: GpuStudent, structures: Sequence[Structure], skin_angstrom: float = SKIN_ANGSTROM) -> None:
        self.student, self.searches = student, 0
        self.radius = student.architecture.cutoff_angstrom + skin_angstrom
        self.layout = student.layout(structures)
        self._volume = torch.zeros(len(structures), dtype=torch.float64, device=student.device)
        self._along = torch.as_tensor([s.pbc.tolist() for s in structures], device=student.device)
        self.slot = self._new_slot(0)
        self.put(
            torch.cat([torch.from_numpy(s.positions) for s in structures]).to(student.device),
            torch.stack([torch.from_numpy(s.cell) for s in structures]).to(student.device),
        )
        self.search()

    @property
    def positions(self) -> torch.Tensor:
        """Return positions (N, 3) in Å, float64: memory that the next evaluation reads."""
        return self.slot.program.inputs.positions[: self.layout.atoms]

    @property
    def cells(self) -> torch.Tensor:
        """Return cells (S, 3, 3) in Å, float64, rows; zero where not periodic."""
        return self.slot.program.inputs.lattice[: self.layout.structures]

    @property
    def energy(self) -> torch.Tensor:
        """Return energies (S,) in eV, float64, of the last evaluation: memory that the next one overwrites."""
        return self.slot.program.outputs.found[: self.layout.structures, 0]

    @property
    def forces(self) -> torch.Tensor:
        """Return forces (N, 3) in eV/Å, float32, of the last evaluation: memory that the next one overwrites."""
        return self.slot.program.outputs.forces[: self.layout.atoms]

    @property
    def stress(self) -> torch.Tensor:
        """Return stress (S, 3, 3) in eV/Å^3, float64, + is tension; NaN where the cell has no volume."""
        virial = self.slot.program.outputs.found[: self.layout.structures][:, VOIGT]
        volume = torch.where(self._volume > 0, self._volume, torch.nan)
        return virial / volume[:, None, None]

    def put(self, positions: torch.Tensor, cells: torch.Tensor | None = None) -> None:
        """Set (N, 3) positions and, where they changed, (S, 3, 3) cells in Å, without waiting for the host."""
        self.positions.copy_(positions)
        if cells is not None:
            lattice = torch.where(self._along[:, :, None], cells.double(), 0.0)
            gram = lattice @ lattice.transpose(1, 2) + torch.diag_embed((~self._along).double())
            self.cells.copy_(lattice)
            self._volume.copy_(torch.linalg.cross(cells[:, 0], cells[:, 1]).mul(cells[:, 2]).sum(1).abs())
            inverse, _ = torch.linalg.inv_ex(gram)
            self.slot.program.inputs.reciprocal[: len(lattice)].copy_(lattice.transpose(1, 2) @ inverse)

    def search(self) -> None:
        """Search for candidates and evaluate; wait for the GPU once."""
        edges = 0
        while True:
            if edges > self.slot.program.bucket.edges:
                size = self.slot.given.step_bytes
                moving = self.slot.program.inputs.memory[:size].clone()  # positions and cells
                del self.slot  # large systems have no room for both
                self.slot = self._new_slot(edges)
                self.slot.program.inputs.memory[:size].copy_(moving)
            self.searches += 1
            self.slot.run("search")
            flags, edges = self.slot.program.outputs.status.tolist()
            if flags & CROWDED:
                raise PotstillError("a cell is so small that the cutoff reaches more than 500 of its images")
            if edges <= self.slot.program.bucket.edges:
                return

    def evaluate(self) -> None:
        """Enqueue an evaluation with the earlier candidates; :meth:`missed` tells whether they sufficed."""
        self.slot.run("evaluate")

    def missed(self) -> bool:
        """Return whether an evaluation since the last search may have missed a neighbor; waits for the GPU."""
        return bool(int(self.slot.program.outputs.status[0]) & STALE)

    def __call__(self, positions: torch.Tensor, cells: torch.Tensor | None = None) -> None:
        """Evaluate positions and cells, with a search where it is needed; the properties contain the answer."""
        self.put(positions, cells)
        self.evaluate()
        if self.missed():
            self.search()

    def _new_slot(self, edges: int) -> Slot:
        slot = self.student.new_slot(self.layout, self.radius, edges)
        self.layout.write(slot.given, slot.program.bucket)
        slot.program.inputs.memory.copy_(slot.given.memory)
        return slot
