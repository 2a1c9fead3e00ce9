"""Scripted part of the metatomic export; imported only where metatomic is installed.

TorchScript reads the annotations of this module, so they must not be postponed.
"""

# ruff: noqa: UP006, UP035, UP045 - the annotations that TorchScript supports

from typing import Dict, List, Optional

import torch
from metatensor.torch import Labels, TensorBlock, TensorMap
from metatomic.torch import AtomisticModel, ModelCapabilities, ModelMetadata, ModelOutput, NeighborListOptions, System
from torch import nn

from potstill.student.compiled import merged_student
from potstill.student.grid import ElementGrid
from potstill.student.model import Student

EXAMPLE_ATOMS, EXAMPLE_SLOTS = 6, 5


class _Network(nn.Module):
    """Local energies from padded neighbors: what is traced."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(
        self,
        vectors: torch.Tensor,
        neighbor: torch.Tensor,
        species: torch.Tensor,
        present: torch.Tensor,
        occupant: torch.Tensor,
        place: torch.Tensor,
    ) -> torch.Tensor:
        grid = ElementGrid(present, occupant, place) if self.student.architecture.experts > 1 else None
        return self.student.local_energies(vectors, neighbor, species, grid)


class PlainNetwork(nn.Module):
    """Local energies by TorchScript alone, which runs wherever PyTorch does.

    Parameters
    ----------
    student
        Trained student in the precision to export.
    """

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.cutoff: float = student.architecture.cutoff_angstrom
        self.network = _traced(student)

    def forward(self, vectors: torch.Tensor, pairs: torch.Tensor, species: torch.Tensor) -> torch.Tensor:
        """Return (N,) eV without reference energies.

        Parameters
        ----------
        vectors
            (E, 3) Å from the first to the second atom of each pair.
        pairs
            (E, 2 or more) integers; the columns after the second are not read.
        species
            (N,) place of each atom's element among those of the student.
        """
        n_atoms = len(species)
        receiver, order = torch.sort(pairs[:, 0].to(torch.int64), stable=True)
        count = torch.bincount(receiver, minlength=n_atoms)
        n_slots = 2
        if len(receiver) > 0:
            n_slots = max(n_slots, int(count.max()))
        first = torch.cumsum(count, 0) - count
        slot = receiver * n_slots + torch.arange(len(receiver), device=receiver.device) - first[receiver]
        empty = torch.full((n_atoms * n_slots, 3), 2.0 * self.cutoff, dtype=vectors.dtype, device=vectors.device)
        padded = empty.index_copy(0, slot, vectors[order]).view(n_atoms, n_slots, 3).transpose(1, 2)
        neighbor = torch.zeros(n_atoms * n_slots, dtype=torch.int64, device=vectors.device)
        neighbor = neighbor.index_copy(0, slot, pairs[:, 1].to(torch.int64)[order]).view(n_atoms, n_slots)
        present, occupant, place = element_grid(species)
        local: torch.Tensor = self.network(padded, neighbor, species, present, occupant, place)
        return local


class FusedNetwork(nn.Module):
    """Local energies by the fused kernel, in a library that must be loaded before the model.

    Parameters
    ----------
    file
        (n,) bytes of ``student.potstill``, with the elements in the order of the architecture.
    exact
        Whether to compute in double precision.
    """

    def __init__(self, file: torch.Tensor, exact: bool) -> None:
        super().__init__()
        self.student = torch.classes.potstill.Student(file, exact)

    def forward(self, vectors: torch.Tensor, pairs: torch.Tensor, species: torch.Tensor) -> torch.Tensor:
        """Return (N,) eV without reference energies; the parameters are those of :class:`PlainNetwork`."""
        return self.student.local_energies(vectors, pairs, species)


class MetatomicStudent(nn.Module):
    """Energy of systems, as metatomic asks for it.

    Parameters
    ----------
    student
        Trained, in the precision to export.
    network
        :class:`PlainNetwork` or :class:`FusedNetwork`.
    """

    species_of: torch.Tensor
    reference_energies: torch.Tensor

    def __init__(self, student: Student, network: nn.Module) -> None:
        super().__init__()
        self.cutoff: float = student.architecture.cutoff_angstrom
        self.register_buffer("species_of", student.species_of.clone())
        self.register_buffer("reference_energies", student.reference_energies.clone())
        self.network = network

    def requested_neighbor_lists(self) -> List[NeighborListOptions]:
        """Return the options of one full list."""
        return [NeighborListOptions(cutoff=self.cutoff, full_list=True, strict=True)]

    def forward(
        self, systems: List[System], outputs: Dict[str, ModelOutput], selected_atoms: Optional[Labels] = None
    ) -> Dict[str, TensorMap]:
        """Return ``energy`` in eV, of systems or of their atoms."""
        results: Dict[str, TensorMap] = {}
        if "energy" not in outputs:
            return results
        per_atom = outputs["energy"].sample_kind == "atom"
        device = systems[0].positions.device
        values: List[torch.Tensor] = []
        samples: List[torch.Tensor] = []
        for k, system in enumerate(systems):
            local = self.local_energies(system)
            atoms = torch.arange(len(local), device=device)
            if selected_atoms is not None:
                mine = selected_atoms.column("system") == k
                atoms = selected_atoms.column("atom")[mine].to(torch.int64)
                local = local[atoms]
            if per_atom:
                values.append(local)
                samples.append(torch.stack([torch.full_like(atoms, k), atoms], dim=1))
            else:
                values.append(local.sum().reshape(1))
                samples.append(torch.full((1, 1), k, device=device))
        names = ["system", "atom"] if per_atom else ["system"]
        block = TensorBlock(
            values=torch.cat(values).reshape(-1, 1).to(systems[0].positions.dtype),
            samples=Labels(names, torch.cat(samples).to(torch.int32)),
            components=torch.jit.annotate(List[Labels], []),
            properties=Labels(["energy"], torch.zeros((1, 1), dtype=torch.int32, device=device)),
        )
        results["energy"] = TensorMap(Labels(["_"], torch.zeros((1, 1), dtype=torch.int32, device=device)), [block])
        return results

    def local_energies(self, system: System) -> torch.Tensor:
        """Return (N,) float64 eV of each atom, reference energies included."""
        species = self.species_of.index_select(0, system.types.to(torch.int64))
        block = system.get_neighbor_list(self.requested_neighbor_lists()[0])
        local = self.network(block.values.reshape(-1, 3), block.samples.values, species)
        return local.to(torch.float64) + self.reference_energies.index_select(0, species)


def element_grid(species: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the fields of :class:`~potstill.student.grid.ElementGrid`, in words of TorchScript."""
    n_atoms = species.shape[0]
    order = torch.argsort(species, dim=0, stable=True)
    present, index = torch.unique(species, return_inverse=True)
    counts = torch.bincount(index, minlength=present.shape[0])
    length = int(counts.max())
    first = torch.cumsum(counts, 0) - counts
    rank = torch.empty_like(species)
    rank[order] = torch.arange(n_atoms, device=species.device) - first[index[order]]
    place = index * length + rank
    occupant = torch.full((present.shape[0] * length,), n_atoms, dtype=torch.int64, device=species.device)
    occupant[place] = torch.arange(n_atoms, device=species.device)
    return present, occupant.view(present.shape[0], length), place


def build_model(student: Student, network: nn.Module, elements: List[str], dtype: str) -> AtomisticModel:
    """Return the student with its description, ready to be saved."""
    architecture = student.architecture
    capabilities = ModelCapabilities(
        outputs={"energy": ModelOutput(unit="eV", sample_kind="system", explicit_gradients=[])},
        atomic_types=list(architecture.atomic_numbers),
        interaction_range=architecture.layers * architecture.cutoff_angstrom,
        length_unit="angstrom",
        supported_devices=["cpu"],
        dtype=dtype,
    )
    metadata = ModelMetadata(name="potstill student", description=f"for {', '.join(elements)}")
    return AtomisticModel(MetatomicStudent(student, network).eval(), metadata, capabilities)


def _traced(student: Student) -> torch.jit.ScriptModule:
    merged = merged_student(student)
    weight = merged.embedding.weight
    species = torch.arange(EXAMPLE_ATOMS) % len(student.architecture.atomic_numbers)
    vectors = torch.linspace(0.5, 3.0, EXAMPLE_ATOMS * 3 * EXAMPLE_SLOTS, dtype=weight.dtype)
    neighbor = torch.arange(EXAMPLE_ATOMS * EXAMPLE_SLOTS) % EXAMPLE_ATOMS
    example = (vectors.view(EXAMPLE_ATOMS, 3, EXAMPLE_SLOTS), neighbor.view(EXAMPLE_ATOMS, EXAMPLE_SLOTS), species)
    return torch.jit.trace(_Network(merged), (*example, *element_grid(species)), check_trace=False)
