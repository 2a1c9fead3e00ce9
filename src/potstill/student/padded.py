"""Batches of a fixed shape, for training on a GPU: no operation waits for the host, so a CUDA graph can repeat a step.

Atoms and neighbors are padded to the shape. An empty slot contains a vector that is longer than the cutoff. Padded atoms
belong to a structure of their own, which comes last and has no neighbors.

Derivatives by the weights need no second derivative. A loss L of energies E and derivatives g = dE/dr needs
``dL/dE dE/dw + dL/dg dg/dw``. The second term is the derivative of dE/dw along v = dL/dg. It is the difference of two
derivatives by the weights alone, with the edge vectors moved a small step along v and against it. The kernel of the CPU
does the same (:class:`potstill.student.fused.FusedTraining`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from potstill.student.fused import STEP_ANGSTROM
from potstill.student.grid import ElementGrid
from potstill.student.model import Prediction, Student

ROWS = 32  # atoms of one element that share a matrix product


@dataclass(frozen=True, slots=True, eq=False)
class PaddedAtoms:
    """Input of a student: S structures and N atoms with M slots for neighbors, and a last structure of padded atoms.

    Parameters
    ----------
    species
        (N,) index of each atom's element among those of the student.
    structure
        (N,) structure of each atom; S for padded atoms.
    neighbor
        (N, M) index of the neighbor in each slot; the atom itself in empty slots.
    occupied
        (N, M) bool, whether the slot has a neighbor.
    vectors
        (N, 3, M) vectors to the neighbors in Å; longer than the cutoff in empty slots.
    volume, periodic
        (S + 1,) Å^3, 1 where no stress is defined, and bool, whether it is.
    tiles
        Number of groups of :data:`ROWS` atoms of one element, enough for all atoms taken twice; padded atoms have none.
    """

    species: torch.Tensor
    structure: torch.Tensor
    neighbor: torch.Tensor
    occupied: torch.Tensor
    vectors: torch.Tensor
    volume: torch.Tensor
    periodic: torch.Tensor
    tiles: int

    @property
    def real(self) -> torch.Tensor:
        """Return (N,) bool, False for padded atoms."""
        return self.structure < len(self.volume) - 1


def displaced(atoms: PaddedAtoms, by: torch.Tensor) -> PaddedAtoms:
    """Return the same atoms moved by (N, 3) Å, with the neighbors that they have."""
    moved = by.index_select(0, atoms.neighbor.flatten()).view(*atoms.neighbor.shape, 3) - by[:, None]
    vectors = atoms.vectors + (moved * atoms.occupied[:, :, None]).transpose(1, 2)
    return replace(atoms, vectors=vectors)


def tiles_needed(counts: torch.Tensor) -> torch.Tensor:
    """Return the number of groups that atoms taken twice need, from their (..., Z) counts by element."""
    return (2 * counts + ROWS - 1).div(ROWS, rounding_mode="floor").sum(-1)


def energy_gradient(student: Student, atoms: PaddedAtoms) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (N,) local energies in eV and the (N, 3, M) derivative of their sum by the vectors, zero in empty slots."""
    groups = _groups(student, atoms.species, atoms.real, atoms.tiles)
    with torch.enable_grad():
        leaf = atoms.vectors.detach().requires_grad_()
        local = student.local_energies(leaf, atoms.neighbor, atoms.species, groups)
        (gradient,) = torch.autograd.grad(torch.where(atoms.real, local, 0.0).sum(), leaf)
    return local.detach(), gradient


def predicted(student: Student, atoms: PaddedAtoms, local: torch.Tensor, gradient: torch.Tensor) -> Prediction:
    """Return the prediction for S + 1 structures, from what :func:`energy_gradient` returns; differentiable by both."""
    n_structures, n_atoms = len(atoms.volume), len(atoms.species)
    gradient = gradient * atoms.occupied[:, None]
    sent = gradient.transpose(1, 2).reshape(-1, 3)
    forces = gradient.sum(2).index_add(0, atoms.neighbor.flatten(), -sent)
    by_atom = torch.bmm(atoms.vectors, gradient.transpose(1, 2)).view(n_atoms, 9)
    virial = by_atom.new_zeros(n_structures, 9).index_add(0, atoms.structure, by_atom).view(-1, 3, 3)
    virial = (virial + virial.transpose(1, 2)) / 2
    stress = torch.where(atoms.periodic[:, None, None], virial / atoms.volume[:, None, None], 0.0)
    whole = local.double() + student.reference_energies.index_select(0, atoms.species)
    energy = whole.new_zeros(n_structures).index_add(0, atoms.structure, whole)
    return Prediction(energy, forces, stress, local, virial)


def weight_gradients(
    student: Student, atoms: PaddedAtoms, weights: Sequence[nn.Parameter], by_local: torch.Tensor, by_gradient: torch.Tensor
) -> list[torch.Tensor]:
    """Return the derivative of ``sum(by_local * local) + sum(by_gradient * gradient)`` by each of the weights.

    Parameters
    ----------
    student, atoms
        As for :func:`energy_gradient`.
    weights
        Parameters of the student.
    by_local, by_gradient
        (N,) and (N, 3, M) derivatives of a loss by what :func:`energy_gradient` returns.
    """
    n_atoms = len(atoms.species)
    by_gradient = by_gradient * atoms.occupied[:, None]
    longest = by_local.new_zeros(len(atoms.volume))
    longest.scatter_reduce_(0, atoms.structure, by_gradient.norm(dim=1).amax(1), "amax")
    step = torch.where(longest > 0, STEP_ANGSTROM / longest, 1.0)
    slope = torch.where(longest > 0, 0.5 / step, 0.0).index_select(0, atoms.structure)
    moved = step.index_select(0, atoms.structure)[:, None, None] * by_gradient
    species = atoms.species.repeat(2)
    with torch.enable_grad():
        local = student.network_energies(
            torch.cat([atoms.vectors + moved, atoms.vectors - moved]),
            torch.cat([atoms.neighbor, atoms.neighbor + n_atoms]),
            species,
            _groups(student, species, atoms.real.repeat(2), atoms.tiles),
        )
        total = (torch.cat([0.5 * by_local + slope, 0.5 * by_local - slope]) * local).sum()
        found = torch.autograd.grad(total, list(weights), allow_unused=True)
    return [torch.zeros_like(w) if g is None else g for w, g in zip(weights, found, strict=True)]


def _groups(student: Student, species: torch.Tensor, real: torch.Tensor, tiles: int) -> ElementGrid | None:
    if student.architecture.experts == 1:
        return None
    return tiled(species, real, len(student.charges), tiles)


def tiled(species: torch.Tensor, real: torch.Tensor, n_elements: int, tiles: int) -> ElementGrid:
    """Return a grid of a fixed number of groups with :data:`ROWS` places, each for atoms of one element.

    Parameters
    ----------
    species
        (N,) index of each atom's element, below ``n_elements``.
    real
        (N,) bool, False for atoms without a place; their products are those of another atom.
    n_elements
        Number of elements.
    tiles
        Number of groups, at least that of :func:`tiles_needed`.
    """
    n_atoms, device = len(species), species.device
    counts = species.new_zeros(n_elements + 1).index_add(0, torch.where(real, species, n_elements), torch.ones_like(species))
    ends = (counts[:-1] + ROWS - 1).div(ROWS, rounding_mode="floor").cumsum(0)
    order = torch.argsort(torch.where(real, species, n_elements), stable=True)
    every = torch.arange(n_atoms, device=device)
    first_tile = torch.cat([ends.new_zeros(1), ends[:-1]])
    ranked = species.index_select(0, order)
    rank = every - (counts.cumsum(0) - counts).index_select(0, ranked)
    place = torch.empty_like(species).index_copy(0, order, first_tile.index_select(0, ranked) * ROWS + rank)
    occupant = torch.full((tiles * ROWS + 1,), n_atoms, device=device)
    occupant = occupant.index_copy(0, torch.where(real, place, tiles * ROWS), every)[:-1]
    present = torch.searchsorted(ends, torch.arange(tiles, device=device), right=True).clamp(max=n_elements - 1)
    return ElementGrid(present, occupant.view(tiles, ROWS), torch.where(real, place, 0))
