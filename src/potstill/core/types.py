"""Shared types of the project: structures, labels, refusals, batches, and the protocols of sources and teachers.

Nothing here computes; every stage imports these types and no stage's module imports another stage's types.

A water molecule, as an example of every field of a :class:`Structure`::

    Structure(
        atomic_numbers=[8, 1, 1],  # (3,)
        positions=[[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]],  # (3, 3) Å
        cell=[[0, 0, 0], [0, 0, 0], [0, 0, 0]],  # rows are vectors; zero where not periodic
        pbc=[False, False, False],
        id="molecules-000007",
        source="molecules",
        family="H2O",
    )
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from potstill.core.errors import StructureError

if TYPE_CHECKING:
    import ase
    import torch

Array = NDArray[Any]
MAX_ATOMIC_NUMBER = 118
SHORTEST_VECTOR = 1e-3  # Å
SMALLEST_VOLUME = 1e-3  # Å^3
FARTHEST_ANGSTROM = 1e9  # a decimetre, where float64 resolves 1e-7 Å
PROPERTIES = frozenset({"energy", "forces", "stress"})


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Energy, forces and stress that a teacher predicts for one structure.

    Parameters
    ----------
    energy
        Total energy in eV.
    forces
        (n, 3) in eV/Å.
    stress
        (3, 3) symmetric, in eV/Å^3, ASE's sign (+ is tension); None where no volume is known.
    extra
        Further quantities of each atom, by name: (n, …) arrays such as ``local_energies``.
    """

    energy: float
    forces: Array
    stress: Array | None = None
    extra: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """One set of atoms.

    Parameters
    ----------
    atomic_numbers
        (n,) integers from 1 to 118; stored as uint8.
    positions
        (n, 3) Cartesian coordinates in Å; stored as float64.
    cell
        (3, 3) lattice vectors as **rows**, in Å; zero rows where the structure is not periodic.
    pbc
        (3,) whether each lattice vector is periodic.
    id
        Unique name within a dataset, a pure function of config, source, index and seed.
    source
        Name of the source that made it.
    family
        Group that must not be divided between train, validation and test: parent, its rattles and MD frames, its
        composition.
    generator_metadata
        JSON-serialisable facts about how the structure was made (SMILES, space group, strain, …).
    labels
        Labels from the teacher; None before labelling.

    Raises
    ------
    StructureError
        If shapes disagree, a number is not finite, an element is unknown, or a periodic axis has no lattice vector.
    """

    atomic_numbers: Array
    positions: Array
    cell: Array = field(default_factory=lambda: np.zeros((3, 3)))
    pbc: Array = field(default_factory=lambda: np.zeros(3, bool))
    id: str = ""
    source: str = ""
    family: str = ""
    generator_metadata: Mapping[str, Any] = field(default_factory=dict)
    labels: Labels | None = None

    def __post_init__(self) -> None:
        numbers = np.asarray(self.atomic_numbers)
        positions = np.array(self.positions, dtype=np.float64)
        cell = np.array(self.cell, dtype=np.float64)
        pbc = np.array(self.pbc, dtype=bool)
        _refuse_impossible(numbers, positions, cell, pbc, self.labels)
        object.__setattr__(self, "atomic_numbers", numbers.astype(np.uint8))
        object.__setattr__(self, "positions", positions)
        object.__setattr__(self, "cell", cell)
        object.__setattr__(self, "pbc", pbc)

    def __len__(self) -> int:
        return len(self.atomic_numbers)

    @property
    def volume(self) -> float:
        """Return the volume of the cell in Å^3; zero unless all three axes are periodic."""
        return float(abs(np.linalg.det(self.cell))) if self.pbc.all() else 0.0

    @property
    def formula(self) -> str:
        """Return the composition in Hill order: reduced if periodic (``Al2O3``), else the whole molecule (``C6H6``)."""
        return hill_formula(self.atomic_numbers, reduced=bool(self.pbc.any()))

    def with_(self, **changes: Any) -> Structure:
        """Return a copy with some fields replaced; arrays are validated again."""
        return replace(self, **changes)

    @classmethod
    def from_ase(cls, atoms: ase.Atoms, **fields: Any) -> Structure:
        """Return the structure of an ASE ``Atoms``; calculators, constraints and velocities are dropped."""
        return cls(atoms.numbers, atoms.positions, np.array(atoms.cell), atoms.pbc, **fields)

    def to_ase(self) -> ase.Atoms:
        """Return ASE ``Atoms`` with the same numbers, positions, cell and pbc."""
        import ase

        return ase.Atoms(numbers=self.atomic_numbers, positions=self.positions, cell=self.cell, pbc=self.pbc)


@dataclass(frozen=True, slots=True)
class Refused:
    """Refusal of a structure or of its labels, with the reason.

    Parameters
    ----------
    reason
        Short word by which refusals are counted, such as ``too_close`` or ``force_limit``.
    detail
        One sentence with the numbers of this case.
    id
        The structure's id, or the name of the candidate that never became one.
    source
        Name of the source it came from.
    stage
        Stage that refused it: ``generate`` or ``label``.
    """

    reason: str
    detail: str = ""
    id: str = ""
    source: str = ""
    stage: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Structures side by side with their neighbor lists, as tensors: the input of a student.

    A batch has N atoms, S structures and e directed edges within the cutoff. Edges are sorted by receiver ``edge_index[0]``.

    Parameters
    ----------
    atomic_numbers
        (N,) int64.
    positions
        (N, 3) Å; to move atoms, use :func:`potstill.core.batch.displaced`, which moves the edges with them.
    cell
        (S, 3, 3) Å, rows are lattice vectors.
    ptr
        (S + 1,) int64 offsets of each structure's atoms.
    structure
        (N,) int64, the structure each atom belongs to.
    edge_index
        (2, e) int64, receiver i and sender j.
    edge_shift
        (e, 3), S in lattice vectors: ``r = positions[j] + S @ cell - positions[i]``.
    edge_vectors
        (e, 3) r in Å, measured in float64 and rounded once: differences of float32 positions are not accurate enough.
    periodic
        (S,) bool, whether all three axes are periodic, so that stress is defined.
    """

    atomic_numbers: torch.Tensor
    positions: torch.Tensor
    cell: torch.Tensor
    ptr: torch.Tensor
    structure: torch.Tensor
    edge_index: torch.Tensor
    edge_shift: torch.Tensor
    edge_vectors: torch.Tensor
    periodic: torch.Tensor

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Batch:
        """Return a copy on another device; ``dtype`` applies to positions, cell, shifts and vectors."""
        floats = {
            name: getattr(self, name).to(device, dtype) for name in ("positions", "cell", "edge_shift", "edge_vectors")
        }
        rest = ("atomic_numbers", "ptr", "structure", "edge_index", "periodic")
        return Batch(**floats, **{name: getattr(self, name).to(device) for name in rest})

    def __len__(self) -> int:
        return len(self.ptr) - 1


@runtime_checkable
class Source(Protocol):
    """A generator of structures. ``propose`` is a pure function of the source's options, the indices and the seed."""

    @property
    def name(self) -> str:
        """Return the name that is written into ``/structures/source``."""
        ...

    def propose(self, indices: Sequence[int], seed: int, parents: Sequence[Structure]) -> list[Structure | Refused]:
        """Return one structure or refusal for each index, in order."""
        ...


@runtime_checkable
class Teacher(Protocol):
    """A slow model whose energies, forces and stress the student learns."""

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """Return name, version, sha256 of the weights and dtype; labels are comparable only if these are equal."""
        ...

    @property
    def elements(self) -> frozenset[int] | None:
        """Return the supported atomic numbers, or None if unknown; others are refused as ``unsupported_element``."""
        ...

    @property
    def properties(self) -> frozenset[str]:
        """Return the predicted properties: ``energy``, ``forces``, and ``stress`` if predicted for periodic structures."""
        ...

    def label(self, structures: Sequence[Structure]) -> list[Labels | Refused]:
        """Return labels or a refusal for each structure, in order; the input stays unchanged."""
        ...


def _refuse_impossible(numbers: Array, positions: Array, cell: Array, pbc: Array, labels: Labels | None) -> None:
    """Raise StructureError if the arrays are not a valid set of atoms."""
    for fault, message in (
        (numbers.ndim != 1 or len(numbers) == 0, f"atomic_numbers must have shape (n,) with n >= 1, found {numbers.shape}"),
        (positions.shape != (*numbers.shape, 3), f"positions must have shape (n, 3), found {positions.shape}"),
        (cell.shape != (3, 3) or pbc.shape != (3,), f"cell must be (3, 3) and pbc (3,), found {cell.shape} and {pbc.shape}"),
    ):
        if fault:
            raise StructureError(message)
    if not (np.isfinite(positions).all() and np.isfinite(cell).all()):
        raise StructureError("positions or cell contain a number that is not finite")
    if not (numbers.dtype.kind in "iu" or (numbers.dtype.kind == "f" and (numbers == np.floor(numbers)).all())):
        raise StructureError(f"atomic numbers must be integers, found {numbers[:8].tolist()} of type {numbers.dtype}")
    if numbers.min() < 1 or numbers.max() > MAX_ATOMIC_NUMBER:
        raise StructureError(f"atomic numbers must lie in 1..{MAX_ATOMIC_NUMBER}, found {sorted(set(numbers.tolist()))}")
    if (np.linalg.norm(cell[pbc], axis=1) < SHORTEST_VECTOR).any():
        raise StructureError(f"pbc is {pbc.tolist()} but a periodic lattice vector has no length")
    if pbc.all() and abs(np.linalg.det(cell)) < SMALLEST_VOLUME:
        raise StructureError("the cell of a periodic structure has no volume")
    refuse_far(positions, cell[pbc])
    if labels is not None and labels.forces.shape != positions.shape:
        raise StructureError(f"forces must have shape {positions.shape}, found {labels.forces.shape}")
    if labels is not None and labels.stress is not None and labels.stress.shape != (3, 3):
        raise StructureError(f"stress must have shape (3, 3), found {labels.stress.shape}")


def refuse_far(positions: Array, lattice: Array) -> None:
    """Raise StructureError for (n, 3) positions or periodic lattice vectors, both in Å, that float64 cannot resolve."""
    for name, lengths in (("an atom", np.abs(positions)), ("a lattice vector", np.abs(lattice))):
        farthest = float(lengths.max(initial=0.0))
        if not farthest <= FARTHEST_ANGSTROM:
            raise StructureError(
                f"{name} reaches {farthest:.3g} Å, expected at most {FARTHEST_ANGSTROM:.0e} Å; check the unit"
            )


def hill_formula(atomic_numbers: Array, *, reduced: bool = False) -> str:
    """Return the composition in Hill order (C, H, then alphabetical; alphabetical without C), on request reduced.

    >>> hill_formula(np.array([1, 6, 6, 1]))
    'C2H2'
    >>> hill_formula(np.array([17, 11, 17, 11]), reduced=True)
    'ClNa'
    """
    from ase.data import chemical_symbols

    numbers, counts = np.unique(atomic_numbers, return_counts=True)
    divisor = int(np.gcd.reduce(counts)) if reduced else 1
    amount = {chemical_symbols[int(z)]: int(c) // divisor for z, c in zip(numbers, counts, strict=True)}
    first = [s for s in ("C", "H") if s in amount] if "C" in amount else []
    order = first + sorted(set(amount) - set(first))
    return "".join(f"{s}{amount[s] if amount[s] > 1 else ''}" for s in order)
