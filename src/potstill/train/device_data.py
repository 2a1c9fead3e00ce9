"""Labelled structures in the memory of a GPU: a batch is made there from the numbers of its structures.

All sizes of a batch are those of a shape, so that the same operations make every batch and none waits for the host.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from potstill.core.types import Array
from potstill.student.model import Student
from potstill.student.padded import PaddedAtoms, tiles_needed
from potstill.train import distributed
from potstill.train.data import Items, LabelledStructures

STRUCTURES_AT_ONCE = 1024
BYTES_PER_EDGE, BYTES_PER_ATOM = 16, 64


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a padded batch.

    Parameters
    ----------
    structures
        Exact number of structures.
    atoms, slots, tiles
        Largest numbers of atoms, of neighbors of an atom, and of groups of atoms (:func:`tiles_needed`).
    """

    structures: int
    atoms: int
    slots: int
    tiles: int

    def holds(self, other: Shape) -> bool:
        """Return whether a batch of another shape fits into this one."""
        return (
            self.structures == other.structures
            and self.atoms >= other.atoms
            and self.slots >= other.slots
            and self.tiles >= other.tiles
        )

    @property
    def cost(self) -> float:
        """Return a measure of the time of a step: the number of slots, and of rows in products."""
        return self.atoms * (self.slots + 32.0) + 32.0 * self.tiles

    def widened(self) -> Shape:
        """Return a shape that has some room for other batches of the same kind."""
        return Shape(
            self.structures,
            _rounded(1.04 * self.atoms, 16),
            _rounded(1.04 * self.slots, 4),
            _rounded(1.04 * self.tiles, 4),
        )


def _rounded(value: float, step: int) -> int:
    return -(-int(value) // step) * step


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """Structures of a batch, by number.

    Parameters
    ----------
    indices
        (S,) numbers of the structures among those of the training.
    shape
        Smallest shape of the batch; of no use where there are no structures.
    parts
        Numbers of the structures that each process has of the batch.
    """

    indices: torch.Tensor
    shape: Shape
    parts: tuple[Array, ...] = ()

    def to(self, device: torch.device | str) -> Chosen:
        """Return the same (Lightning calls it); the numbers are copied when the batch is made."""
        return self


@dataclass(frozen=True, slots=True, eq=False)
class PaddedBatch:
    """A padded batch with its labels; the last structure and its atoms do not count in any mean.

    Parameters
    ----------
    atoms
        Input of the student.
    energy, stress, has_stress, sizes, weight
        Labels of S + 1 structures, as in :class:`~potstill.train.data.LabelledBatch`.
    forces, atomic_numbers, extra
        Labels of N atoms.
    n_atoms
        () number of atoms that are not padded.
    """

    atoms: PaddedAtoms
    energy: torch.Tensor
    forces: torch.Tensor
    stress: torch.Tensor
    has_stress: torch.Tensor
    sizes: torch.Tensor
    atomic_numbers: torch.Tensor
    n_atoms: torch.Tensor
    weight: torch.Tensor | None
    extra: Mapping[str, torch.Tensor]

    @property
    def structure(self) -> torch.Tensor:
        """Return the (N,) structure of each atom."""
        return self.atoms.structure

    def mean_over_structures(self, values: torch.Tensor) -> torch.Tensor:
        """Return the mean of (S + 1,) values over the first S."""
        return values[:-1].mean()

    def mean_over_atoms(self, values: torch.Tensor) -> torch.Tensor:
        """Return the mean of (N,) values over the atoms that are not padded."""
        last = len(self.sizes) - 1
        return torch.where(self.atoms.structure < last, values, 0.0).sum() / self.n_atoms


class DeviceStructures:
    """Labelled structures and their neighbor lists on a device; indexed by structures, it yields :class:`Chosen`.

    Parameters
    ----------
    data
        Structures on the host.
    student
        Student, for its elements and cutoff.
    extra
        Columns of the records' ``extra`` that batches contain.
    device
        Device that receives everything.
    """

    def __init__(
        self, data: LabelledStructures, student: Student, device: torch.device, extra: tuple[str, ...] = ()
    ) -> None:
        self.device, self.cutoff = device, student.architecture.cutoff_angstrom
        self._extra_names = extra
        parts = [self._part(data, student, start) for start in range(0, len(data), STRUCTURES_AT_ONCE)]
        joined = {name: torch.cat([part.pop(name) for part in parts]) for name in list(parts[0])}
        self.sizes = joined["sizes"].numpy()
        self._most, self._has_stress = joined["most"].numpy(), joined["has_stress"].numpy()
        self._counts = joined["counts"]
        first_atom = torch.zeros(len(data) + 1, dtype=torch.int64)
        torch.cumsum(joined["sizes"], 0, out=first_atom[1:])
        first_edge = torch.zeros(len(joined["neighbors"]) + 1, dtype=torch.int64)
        torch.cumsum(joined["neighbors"], 0, out=first_edge[1:])
        for name in ("sender", "vectors"):  # empty slots read the first row, also where no atom has a neighbor
            joined[name] = torch.cat([joined[name], joined[name].new_zeros(1, *joined[name].shape[1:])])
        on_host = {"most", "counts", "neighbors"}
        self._of = {name: rows.to(device) for name, rows in joined.items() if name not in on_host}
        self._of |= {"first_atom": first_atom.to(device), "first_edge": first_edge.to(device)}

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, indices: Array) -> Chosen:
        """Return this process' part of a batch."""
        count = distributed.processes()
        parts = tuple(np.asarray(indices)[k::count] for k in range(count))
        return replace(self.chosen(parts[distributed.rank()]), parts=parts)

    def chosen(self, indices: Array) -> Chosen:
        """Return some structures for this process."""
        counts = self._counts[torch.from_numpy(indices)].to(torch.int64).sum(0)
        atoms = int(self.sizes[indices].sum()) + 1  # one padded atom at least, so that the last structure has a size
        shape = Shape(len(indices), atoms, int(self._most[indices].max(initial=2)), int(tiles_needed(counts)))
        return Chosen(torch.from_numpy(indices.astype(np.int64)), shape)

    def numbers(self, indices: Array, products: Array) -> dict[Items, int]:
        """Return how many items of each kind some structures have, with those whose Hessian products are compared."""
        return {
            "structures": len(indices),
            "atoms": int(self.sizes[indices].sum()),
            "stresses": int(self._has_stress[indices].sum()),
            "products": int(self.sizes[products].sum()),
        }

    def batch(self, indices: torch.Tensor, shape: Shape) -> PaddedBatch:
        """Return the padded batch of (S,) structures, whose numbers are on the device."""
        of, last = self._of, shape.structures
        sizes = of["sizes"].index_select(0, indices)
        ends = sizes.cumsum(0)
        starts = ends - sizes
        place = torch.arange(shape.atoms, device=self.device)
        structure = torch.searchsorted(ends, place, right=True)
        real = structure < last
        owner = structure.clamp(max=last - 1)
        start = starts.index_select(0, owner)
        first = of["first_atom"].index_select(0, indices.index_select(0, owner))
        atom = torch.where(real, first + place - start, 0)
        n_atoms = ends[-1]
        return PaddedBatch(
            atoms=self._atoms(atom, structure, real, start, indices, shape),
            energy=_with_last(of["energy"].index_select(0, indices)),
            forces=of["forces"].index_select(0, atom) * real[:, None],
            stress=_with_last(of["stress"].index_select(0, indices)),
            has_stress=_with_last(of["has_stress"].index_select(0, indices)),
            sizes=torch.cat([sizes, (shape.atoms - n_atoms)[None]]),
            atomic_numbers=of["atomic_numbers"].index_select(0, atom),
            n_atoms=n_atoms,
            weight=_with_last(of["weight"].index_select(0, indices)) if "weight" in of else None,
            extra={name: _of_real(of[name].index_select(0, atom), real) for name in self._extra_names},
        )

    def _atoms(
        self,
        atom: torch.Tensor,
        structure: torch.Tensor,
        real: torch.Tensor,
        start: torch.Tensor,
        indices: torch.Tensor,
        shape: Shape,
    ) -> PaddedAtoms:
        of = self._of
        first = of["first_edge"].index_select(0, atom)
        count = (of["first_edge"].index_select(0, atom + 1) - first) * real
        slots = torch.arange(shape.slots, device=self.device)
        occupied = slots < count[:, None]
        edge = torch.where(occupied, first[:, None] + slots, 0).flatten()
        sender = of["sender"].index_select(0, edge).view_as(occupied) + start[:, None]
        vectors = of["vectors"].index_select(0, edge).view(*occupied.shape, 3).transpose(1, 2)
        own = torch.arange(len(atom), device=self.device)[:, None]
        return PaddedAtoms(
            species=of["species"].index_select(0, atom) * real,
            structure=structure,
            neighbor=torch.where(occupied, sender, own),
            occupied=occupied,
            vectors=torch.where(occupied[:, None], vectors, 2.0 * self.cutoff).contiguous(),
            volume=_with_last(of["volume"].index_select(0, indices), 1.0),
            periodic=_with_last(of["periodic"].index_select(0, indices)),
            tiles=shape.tiles,
        )

    def _part(self, data: LabelledStructures, student: Student, start: int) -> dict[str, torch.Tensor]:
        made = data[np.arange(start, min(start + STRUCTURES_AT_ONCE, len(data)))]
        inputs = made.inputs
        species = student.species_of.cpu()[inputs.atomic_numbers]
        receiver, sender = inputs.edge_index
        neighbors = torch.bincount(receiver, minlength=len(species))
        most = torch.zeros(len(inputs), dtype=torch.int64).scatter_reduce_(0, inputs.structure, neighbors, "amax")
        counts = torch.zeros(len(inputs), len(student.charges), dtype=torch.int32)
        counts.index_put_((inputs.structure, species), torch.ones(len(species), dtype=torch.int32), accumulate=True)
        volume = torch.linalg.det(inputs.cell.double()).abs().float()
        rows = {
            "sizes": inputs.ptr.diff(),
            "most": most,
            "counts": counts,
            "neighbors": neighbors,
            "species": species,
            "atomic_numbers": inputs.atomic_numbers,
            "sender": (sender - inputs.ptr[inputs.structure[receiver]]).to(torch.int32),
            "vectors": inputs.edge_vectors,
            "volume": torch.where(inputs.periodic, volume, 1.0),
            "periodic": inputs.periodic,
            "energy": made.energy,
            "forces": made.forces,
            "stress": made.stress,
            "has_stress": made.has_stress,
            **made.extra,
        }
        return rows if made.weight is None else rows | {"weight": made.weight}


def bytes_needed(data: LabelledStructures) -> int:
    """Return the memory in bytes that :class:`DeviceStructures` take, without further labels."""
    edges = float((data.edges_per_atom * data.sizes).sum())
    return int(BYTES_PER_EDGE * edges + BYTES_PER_ATOM * data.sizes.sum())


def _with_last(rows: torch.Tensor, value: float = 0.0) -> torch.Tensor:
    """Return rows of S structures, and one for the structure of the padded atoms."""
    return torch.cat([rows, rows.new_full((1, *rows.shape[1:]), value)])


def _of_real(rows: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Return rows of N atoms, zero for padded ones."""
    return rows * real.view(-1, *[1] * (rows.ndim - 1))
