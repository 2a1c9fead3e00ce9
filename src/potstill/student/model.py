"""The student: local energies of atomic environments, and forces and stress as their derivatives in one place.

Every layer sums its neighbors' scalars and vectors, weighted by radial functions and spherical harmonics, into densities
around each atom. Products of densities are invariants, and a residual network per atom turns them into new features. No
network is evaluated per edge: radial and angular parts are computed once for all layers. A layer is one batched matrix
product over padded neighbors. The density is that of the atomic cluster expansion (Drautz, Phys. Rev. B 99, 014104 (2019)).
Vectors as messages are those of PaiNN (Schütt, Unke and Gastegger, ICML 2021).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from potstill.core.elements import covalent_radii
from potstill.core.types import Batch
from potstill.student.basis import radial_functions, slots_by_receiver, spherical_harmonics
from potstill.student.layer import AtomicEnvironments, ElementGroups, ElementLinear, Groups, Layer
from potstill.student.options import StudentArchitecture
from potstill.student.zbl import zbl_energy

N_ATOMIC_NUMBERS = 119

# (e, 3) edge vectors and a batch -> (N,) local energies and (e, 3) derivatives of their sum by the edge vectors
Kernel = Callable[[torch.Tensor, Batch], tuple[torch.Tensor, torch.Tensor]]


@runtime_checkable
class FeatureKernel(Protocol):
    """Kernel that computes the last features in the same pass."""

    def with_last_features(self, vectors: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return (N,) local energies, their (e, 3) derivative and (N, hidden) last features."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """Prediction for a batch of S structures and N atoms.

    Parameters
    ----------
    energy
        (S,) energies in eV, float64.
    forces
        (N, 3) forces in eV/Å.
    stress
        (S, 3, 3) eV/Å^3, + is tension; zero where ``batch.periodic`` is False.
    local_energies
        (N,) local energies in eV, without reference energies.
    virial
        (S, 3, 3) derivative of the energy by the strain in eV, also of structures that are not periodic. It is the stress
        times the volume.
    features
        (N, hidden) last features, in which local energies are linear apart from the repulsion; None by default.
    """

    energy: torch.Tensor
    forces: torch.Tensor
    stress: torch.Tensor
    local_energies: torch.Tensor
    virial: torch.Tensor
    features: torch.Tensor | None = None


class Student(nn.Module):
    """Energy, conservative forces and stress of atoms.

    Parameters
    ----------
    architecture
        Sizes, cutoff and supported elements.
    """

    reference_energies: torch.Tensor
    scale: torch.Tensor
    species_of: torch.Tensor
    charges: torch.Tensor
    radii: torch.Tensor

    def __init__(self, architecture: StudentArchitecture) -> None:
        super().__init__()
        a = self.architecture = architecture
        n_elements = len(a.atomic_numbers)
        charges = torch.tensor(a.atomic_numbers)
        species_of = torch.full((N_ATOMIC_NUMBERS,), -1, dtype=torch.int64)
        species_of[charges] = torch.arange(n_elements)
        self.register_buffer("species_of", species_of, persistent=False)
        self.register_buffer("charges", charges, persistent=False)
        self.register_buffer("radii", torch.from_numpy(covalent_radii()), persistent=False)
        self.register_buffer("reference_energies", torch.zeros(n_elements, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(()))
        self.embedding = nn.Embedding(n_elements, a.features)
        makes = [a.vectors > 0 and k + 1 < a.layers for k in range(a.layers)]
        receives = [False, *makes[:-1]]
        self.layers = nn.ModuleList(Layer(a, n_elements, receives=r, makes=m) for r, m in zip(receives, makes, strict=True))
        self.readout = ElementLinear(n_elements, a.features, a.hidden, a.experts)
        self.last = nn.Linear(a.hidden, 1)

    def local_energies(
        self, vectors: torch.Tensor, neighbor: torch.Tensor, species: torch.Tensor, groups: Groups | None
    ) -> torch.Tensor:
        """Return (N,) energies of each atom in eV without its reference energy.

        Parameters
        ----------
        vectors
            (N, 3, M) vectors from each atom to its neighbors in Å; longer than the cutoff in empty slots.
        neighbor
            (N, M) indices of the neighbors; any atom in empty slots.
        species
            (N,) index of each atom's element among those of the student.
        groups
            Atoms by element; not needed where ``experts`` is 1.
        """
        distance = vectors.square().sum(1).clamp(min=1e-12).sqrt()
        local = self.network_energies(vectors, neighbor, species, groups)
        charges = self.charges[species]
        cutoff = self.architecture.cutoff_angstrom
        return local + 0.5 * zbl_energy(charges[:, None], charges[neighbor], distance, cutoff, self.radii).sum(1)

    def network_energies(
        self, vectors: torch.Tensor, neighbor: torch.Tensor, species: torch.Tensor, groups: Groups | None
    ) -> torch.Tensor:
        """Return the (N,) part of :meth:`local_energies` that depends on the weights, without the nuclear repulsion."""
        distance = vectors.square().sum(1).clamp(min=1e-12).sqrt()
        return self.scale * self.last(self._last_features(vectors, distance, neighbor, species, groups)).squeeze(-1)

    def _last_features(
        self,
        vectors: torch.Tensor,
        distance: torch.Tensor,
        neighbor: torch.Tensor,
        species: torch.Tensor,
        groups: Groups | None,
    ) -> torch.Tensor:
        a = self.architecture
        radial = self.radial_functions(distance, neighbor, species)
        harmonics = spherical_harmonics(vectors / distance[:, None], a.l_max)
        around = AtomicEnvironments(species, neighbor, harmonics[:, :, None] * radial[:, None], groups)
        features, sent = self.embedding.weight.index_select(0, species), None
        for layer in self.layers:
            features, sent = layer(features, sent, around)
        return nn.functional.silu(self.readout(features, groups))

    def radial_functions(self, distance: torch.Tensor, neighbor: torch.Tensor, species: torch.Tensor) -> torch.Tensor:
        """Return the (N, B, M) radial functions of (N, M) distances in Å, absolute or relative as the architecture says."""
        a, bond = self.architecture, None
        if a.bond_share:
            radii = self.radii.to(distance)[self.charges[species]]
            bond = radii[:, None] + radii[neighbor]
        return radial_functions(distance, a.cutoff_angstrom, a.radial, bond)

    def last_features(self, vectors: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return (N, hidden) features of (e, 3) edge vectors; local energies without the repulsion are linear in them."""
        padded, neighbor, _ = self.pad(vectors, batch)
        species = self.species_of[batch.atomic_numbers]
        groups = ElementGroups.of(species) if self.architecture.experts > 1 else None
        distance = padded.square().sum(1).clamp(min=1e-12).sqrt()
        return self._last_features(padded, distance, neighbor, species, groups)

    def differentiate(self, vectors: torch.Tensor, batch: Batch, *, training: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (N,) local energies and the (e, 3) derivative of their sum by the edge vectors, by autograd."""
        padded, neighbor, slot = self.pad(vectors, batch)
        species = self.species_of[batch.atomic_numbers]
        groups = ElementGroups.of(species) if self.architecture.experts > 1 else None
        with torch.enable_grad():
            leaf = padded.requires_grad_()
            local = self.local_energies(leaf, neighbor, species, groups)
            (gradient,) = torch.autograd.grad(local.sum(), leaf, create_graph=training)
            return local, gradient.transpose(1, 2).reshape(-1, 3).index_select(0, slot)

    def pad(self, vectors: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return (N, 3, M) vectors and (N, M) neighbors of each atom, M that of the fullest, and (e,) slots of the edges.

        Empty slots contain vectors that are longer than the cutoff.
        """
        n_atoms = len(batch.atomic_numbers)
        slot, n_slots = slots_by_receiver(batch.edge_index, n_atoms)
        padded = vectors.new_full((n_atoms * n_slots, 3), 2.0 * self.architecture.cutoff_angstrom)
        padded.index_copy_(0, slot, vectors.detach())
        neighbor = batch.edge_index.new_zeros(n_atoms * n_slots).index_copy_(0, slot, batch.edge_index[1])
        return padded.view(n_atoms, n_slots, 3).transpose(1, 2).contiguous(), neighbor.view(n_atoms, n_slots), slot

    def predict(
        self, batch: Batch, *, training: bool = False, kernel: Kernel | None = None, features: bool = False
    ) -> Prediction:
        """Predict energy, forces and stress, the only place where forces and stress are derived from the energy.

        With r the vector of each edge and g = dE/dr, the force on an atom is the sum of g over the edges it receives
        less those it sends. The stress is sum(r g^T) / V, which is dE/d(strain) / V.

        Parameters
        ----------
        batch
            Batch on the student's device and in its dtype.
        training
            Whether to keep the graph, so that a loss on forces and stress can be differentiated again.
        kernel
            Faster code for local energies and their derivative, differentiable itself in training; :meth:`differentiate`
            where None.
        features
            Whether to return the last features: from the kernel in the same pass where it can, else by a second pass in
            PyTorch.
        """
        receiver, sender = batch.edge_index
        vectors = batch.edge_vectors
        last = None
        if features and not training and isinstance(kernel, FeatureKernel):
            local, gradient, last = kernel.with_last_features(vectors, batch)
        elif kernel is None:
            local, gradient = self.differentiate(vectors, batch, training=training)
        else:
            local, gradient = kernel(vectors, batch)
        if features and last is None:
            with torch.set_grad_enabled(training):
                last = self.last_features(vectors, batch)
        n_structures = len(batch)
        forces = torch.zeros_like(batch.positions).index_add(0, receiver, gradient).index_add(0, sender, -gradient)
        virial = torch.zeros(n_structures, 9, dtype=vectors.dtype, device=vectors.device)
        virial = virial.index_add(
            0, batch.structure[receiver], (vectors[:, :, None] * gradient[:, None, :]).flatten(1)
        ).view(n_structures, 3, 3)
        virial = (virial + virial.transpose(1, 2)) / 2
        volume = torch.linalg.det(batch.cell.double()).abs().to(virial.dtype)
        stress = torch.where(
            batch.periodic[:, None, None], virial / torch.where(batch.periodic, volume, 1.0)[:, None, None], 0.0
        )
        references = self.reference_energies[self.species_of[batch.atomic_numbers]]
        energy = torch.zeros(n_structures, dtype=torch.float64, device=vectors.device).index_add(
            0, batch.structure, local.double() + references
        )
        if not training:
            local, energy, forces = local.detach(), energy.detach(), forces.detach()
            stress, virial = stress.detach(), virial.detach()
        return Prediction(energy, forces, stress, local, virial, last)
