"""The student: local energies from the atoms' surroundings, forces and stress from them in one place.

Every layer sums its neighbours' scalar features, weighted by radial functions and spherical harmonics up to l = 2, into a
density around each atom; products of such densities are invariants, and a residual network per atom turns them into new
features. An edge never holds a network: its radial and angular parts are computed once for all layers, and a layer is one
batched matrix product over padded neighbours. The density is that of the atomic cluster expansion (Drautz, Phys. Rev. B 99,
014104 (2019)).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from potstill.student.config import StudentArchitecture
from potstill.student.zbl import cutoff_envelope, zbl_energy
from potstill.types import Batch

HARMONICS_OF_L = (1, 3, 5)
N_HARMONICS = sum(HARMONICS_OF_L)
NEIGHBORS_AT_START = 8.0  # effective number of neighbours that the initial weights are scaled for


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What a student says of a batch of S structures and N atoms.

    Parameters
    ----------
    energy
        (S,) eV, float64.
    forces
        (N, 3) eV/Å.
    stress
        (S, 3, 3) eV/Å^3, + is tension; zero where ``batch.periodic`` is False.
    local_energies
        (N,) eV, without reference energies.
    """

    energy: torch.Tensor
    forces: torch.Tensor
    stress: torch.Tensor
    local_energies: torch.Tensor


class Student(nn.Module):
    """Energy, conservative forces and stress of atoms.

    Parameters
    ----------
    architecture
        Sizes, cutoff and the elements it knows.
    """

    reference_energies: torch.Tensor
    scale: torch.Tensor
    species_of: torch.Tensor

    def __init__(self, architecture: StudentArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        n_elements = len(architecture.atomic_numbers)
        species_of = torch.full((119,), -1, dtype=torch.int64)
        species_of[torch.tensor(architecture.atomic_numbers)] = torch.arange(n_elements)
        self.register_buffer("species_of", species_of)
        self.register_buffer("reference_energies", torch.zeros(n_elements, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(()))
        width = architecture.features
        self.embedding = nn.Embedding(n_elements, width)
        self.radial = RadialBasis(architecture.radial, architecture.cutoff_angstrom)
        self.layers = nn.ModuleList(Layer(architecture, n_elements) for _ in range(architecture.layers))
        self.readout = nn.Sequential(nn.Linear(width, architecture.hidden), nn.SiLU(), nn.Linear(architecture.hidden, 1))

    def local_energies(self, vectors: torch.Tensor, batch: Batch) -> torch.Tensor:
        """(N,) energy of each atom in eV without its reference energy.

        Parameters
        ----------
        vectors
            (e, 3) from receiver to sender in Å; the only thing the energy is differentiated by.
        batch
            Atomic numbers and edges.
        """
        receiver, sender = batch.edge_index
        n_atoms = len(batch.atomic_numbers)
        species = self.species_of[batch.atomic_numbers]
        distance = vectors.square().sum(-1).clamp(min=1e-12).sqrt()
        basis = self.radial(distance)[:, None, :] * spherical_harmonics(vectors / distance[:, None])[:, :, None]
        padded, neighbor = pad_by_receiver(basis.flatten(1), receiver, sender, n_atoms)
        features = self.embedding(species)
        for layer in self.layers:
            features = layer(features, species, padded, neighbor)
        local = self.scale * self.readout(features).squeeze(-1)
        repulsion = 0.5 * zbl_energy(batch.atomic_numbers[receiver], batch.atomic_numbers[sender], distance)
        return local.index_add(0, receiver, repulsion.to(local.dtype))

    def predict(self, batch: Batch, *, training: bool = False) -> Prediction:
        """Energy, forces and stress: the only place where the energy is differentiated.

        With r the vector of each edge and g = dE/dr, the force on an atom is the sum of g over the edges it receives
        less those it sends, and the stress is sum(r g^T) / V, which is dE/d(strain) / V.

        Parameters
        ----------
        batch
            On the student's device and dtype.
        training
            Keep the graph, so that a loss on forces and stress can be differentiated once more.
        """
        receiver, sender = batch.edge_index
        shift = (batch.edge_shift[:, None, :] @ batch.cell[batch.structure[receiver]]).squeeze(1)
        vectors = batch.positions[sender] + shift - batch.positions[receiver]
        with torch.enable_grad():
            vectors = vectors.detach().requires_grad_()
            local = self.local_energies(vectors, batch)
            (gradient,) = torch.autograd.grad(local.sum(), vectors, create_graph=training)
        n_structures = len(batch)
        forces = torch.zeros_like(batch.positions).index_add(0, receiver, gradient).index_add(0, sender, -gradient)
        virial = torch.zeros(n_structures, 9, dtype=vectors.dtype, device=vectors.device)
        virial = virial.index_add(
            0, batch.structure[receiver], (vectors.detach()[:, :, None] * gradient[:, None, :]).flatten(1)
        ).view(n_structures, 3, 3)
        volume = torch.linalg.det(batch.cell.double()).abs().to(virial.dtype)
        stress = torch.where(
            batch.periodic[:, None, None], virial / torch.where(batch.periodic, volume, 1.0)[:, None, None], 0.0
        )
        stress = (stress + stress.transpose(1, 2)) / 2
        references = self.reference_energies[self.species_of[batch.atomic_numbers]]
        energy = torch.zeros(n_structures, dtype=torch.float64, device=vectors.device).index_add(
            0, batch.structure, local.double() + references
        )
        if not training:
            local, energy, forces, stress = local.detach(), energy.detach(), forces.detach(), stress.detach()
        return Prediction(energy, forces, stress, local)


class RadialBasis(nn.Module):
    """Bessel functions times an envelope (Gasteiger, Groß and Günnemann, ICLR 2020, eq. 7)."""

    def __init__(self, n_functions: int, cutoff: float) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.frequencies = nn.Parameter(math.pi * torch.arange(1, n_functions + 1, dtype=torch.get_default_dtype()))

    def forward(self, distance: torch.Tensor) -> torch.Tensor:
        """(e, B) from (e,) distances in Å."""
        x = (distance / self.cutoff)[:, None]
        return math.sqrt(2.0) * torch.sin(self.frequencies * x) / (x + 1e-6) * cutoff_envelope(x)


class Layer(nn.Module):
    """Density of the neighbours' features, its invariants, and a residual network per atom.

    The radial weights are a table by the receiver's element: parameters that cost no arithmetic.
    """

    def __init__(self, architecture: StudentArchitecture, n_elements: int) -> None:
        super().__init__()
        width, channels, radial = architecture.features, architecture.channels, architecture.radial
        self.table_shape = (len(HARMONICS_OF_L), radial, channels)
        self.send = nn.Linear(width, channels, bias=False)
        self.radial_weights = nn.Embedding(n_elements, math.prod(self.table_shape))
        nn.init.normal_(self.radial_weights.weight, std=(radial * NEIGHBORS_AT_START) ** -0.5)
        self.mix = nn.ParameterList(
            nn.Parameter(torch.randn(channels, 2 * channels) * channels**-0.5) for _ in HARMONICS_OF_L
        )
        self.gain = nn.Parameter(torch.ones(5 * channels))
        self.hidden = nn.Linear(5 * channels + width, architecture.hidden)
        self.out = nn.Linear(architecture.hidden, width)

    def forward(
        self, features: torch.Tensor, species: torch.Tensor, padded: torch.Tensor, neighbor: torch.Tensor
    ) -> torch.Tensor:
        """(N, width) from (N, width); ``padded`` is (N, 9 B, M) and ``neighbor`` (N, M)."""
        n_atoms, n_slots = neighbor.shape
        sent = self.send(features).index_select(0, neighbor.reshape(-1)).view(n_atoms, n_slots, -1)
        density = torch.bmm(padded, sent).view(n_atoms, N_HARMONICS, *self.table_shape[1:])
        tables = self.radial_weights(species).view(n_atoms, *self.table_shape).unbind(1)
        parts = [
            (part * table[:, None]).sum(2) for part, table in zip(density.split(HARMONICS_OF_L, dim=1), tables, strict=True)
        ]
        left, right = zip(*((part @ mix).chunk(2, dim=2) for part, mix in zip(parts, self.mix, strict=True)), strict=True)
        invariants = torch.cat(
            [
                parts[0].squeeze(1),
                *((a * b).sum(1) for a, b in zip(left, right, strict=True)),
                quadratic_form(left[1], right[1], right[2]),
            ],
            dim=1,
        )
        hidden = nn.functional.silu(self.hidden(torch.cat([self.gain * soft_norm(invariants), features], dim=1)))
        return features + self.out(hidden)


def soft_norm(x: torch.Tensor) -> torch.Tensor:
    """(N, K) x / sqrt(1 + mean of x^2): bounds large rows and leaves small ones as they are.

    A plain normalisation would blow up an atom whose last neighbour is leaving the cutoff, and its energy would jump.
    """
    return x * torch.rsqrt(1.0 + x.square().mean(dim=1, keepdim=True))


def quadratic_form(u: torch.Tensor, v: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """(N, C) the invariant u . Q v of two vectors and a traceless symmetric tensor given by its five components."""
    ux, uy, uz = u.unbind(1)
    vx, vy, vz = v.unbind(1)
    xy, yz, z2, xz, x2y2 = q.unbind(1)
    diagonal = x2y2 * (ux * vx - uy * vy) + z2 / math.sqrt(3.0) * (2 * uz * vz - ux * vx - uy * vy)
    return diagonal + xy * (ux * vy + uy * vx) + yz * (uy * vz + uz * vy) + xz * (ux * vz + uz * vx)


def spherical_harmonics(unit: torch.Tensor) -> torch.Tensor:
    """(e, 9) real spherical harmonics l = 0, 1, 2 of unit vectors, each l normalised to sum of squares 2 l + 1."""
    x, y, z = unit.unbind(-1)
    s3, s15, s5 = math.sqrt(3.0), math.sqrt(15.0), math.sqrt(5.0)
    return torch.stack(
        [
            torch.ones_like(x),
            s3 * x,
            s3 * y,
            s3 * z,
            s15 * x * y,
            s15 * y * z,
            s5 / 2 * (3 * z * z - 1),
            s15 * x * z,
            s15 / 2 * (x * x - y * y),
        ],
        dim=-1,
    )


def pad_by_receiver(
    rows: torch.Tensor, receiver: torch.Tensor, sender: torch.Tensor, n_atoms: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Lay the rows of edges, which are sorted by receiver, into as many slots per atom as the fullest one needs.

    Returns
    -------
    padded, neighbor
        (N, K, M) with zeros in empty slots, and (N, M) senders with 0 in empty slots.
    """
    n_edges = len(receiver)
    count = torch.bincount(receiver, minlength=n_atoms)
    n_slots = max(int(count.max()), 1) if n_edges else 1
    start = torch.cumsum(count, 0) - count
    slot = receiver * n_slots + torch.arange(n_edges, device=receiver.device) - start[receiver]
    padded = rows.new_zeros(n_atoms * n_slots, rows.shape[1]).index_copy(0, slot, rows)
    neighbor = sender.new_zeros(n_atoms * n_slots).index_copy(0, slot, sender)
    return padded.view(n_atoms, n_slots, -1).transpose(1, 2), neighbor.view(n_atoms, n_slots)
