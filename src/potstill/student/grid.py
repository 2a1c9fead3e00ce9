"""Atoms on a grid of elements by places: each element's product is one matrix product of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, eq=False)
class ElementGrid:
    """Atoms arranged on a grid of elements by places, for batched matrix products without reading counts on the host.

    Parameters
    ----------
    present
        (Z,) species in the batch.
    occupant
        (Z, G) index of the atom at each place; N where there is none.
    place
        (N,) place of each atom on the flattened grid.
    """

    present: torch.Tensor
    occupant: torch.Tensor
    place: torch.Tensor

    @classmethod
    def of(cls, species: torch.Tensor) -> ElementGrid:
        """Make the grid of (N,) species, with at least two of everything."""
        order = torch.argsort(species, stable=True)
        present, index, counts = torch.unique(species, return_inverse=True, return_counts=True)
        if len(present) == 1:  # add an element without atoms
            present, counts = present.repeat(2), torch.nn.functional.pad(counts, (0, 1))
        length = max(int(counts.max()), 2)
        first = torch.cumsum(counts, 0) - counts
        rank = torch.empty_like(species)
        rank[order] = torch.arange(len(species), device=species.device) - first[index[order]]
        place = index * length + rank
        occupant = torch.full((len(present) * length,), len(species), device=species.device)
        occupant[place] = torch.arange(len(species), device=species.device)
        return cls(present, occupant.view(len(present), length), place)

    def product(self, x: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
        """Return (N, outputs): each row of (N, inputs) times its element's of the (Z, inputs, outputs) matrices."""
        filled = torch.cat([x, x.new_zeros(1, x.shape[1])]).index_select(0, self.occupant.flatten())
        product = torch.bmm(filled.view(*self.occupant.shape, x.shape[1]), matrices)
        return product.flatten(0, 1).index_select(0, self.place)
