"""Bins of the atoms of one large structure, so that its search looks at near bins only.

Everything is a sequence of operations on the device with fixed shapes, so that it can be part of a CUDA graph.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """Atoms sorted by their bins, of a structure of at most N atoms.

    Parameters
    ----------
    grid
        (3,) int32 numbers of bins along the axes, whose product is at most N.
    reach
        (3,) int32 numbers of bins on either side of an atom's own that its neighbors can be in.
    periodic
        (3,) int32, 1 for periodic axes.
    own
        (N, 3) int32 bin of each atom.
    first
        (N + 1,) int32 first place of each bin in the sorted order; bins beyond the grid are empty.
    atom
        (N,) int32 atom at each place.
    positions
        (N, 3) float64 Å, wrapped into the cell, at each place.
    """

    grid: torch.Tensor
    reach: torch.Tensor
    periodic: torch.Tensor
    own: torch.Tensor
    first: torch.Tensor
    atom: torch.Tensor
    positions: torch.Tensor


def binned(
    wrapped: torch.Tensor, count: torch.Tensor, lattice: torch.Tensor, reciprocal: torch.Tensor, radius: float
) -> Bins:
    """Sort atoms into bins that are no narrower than a radius.

    Parameters
    ----------
    wrapped
        (N, 3) positions in Å within the cell; those from ``count`` on are ignored.
    count
        () number of atoms.
    lattice, reciprocal
        (3, 3) cell in Å, rows, and its reciprocal with ``r @ reciprocal`` in cells; zero where not periodic.
    radius
        Radius of the search in Å.
    """
    n = len(wrapped)
    periodic = (lattice != 0).any(1)
    frame = _frame(lattice, reciprocal, periodic)
    valid = torch.arange(n, device=wrapped.device) < count
    along = (wrapped[:, :, None] * frame).sum(1)
    inside = valid[:, None].expand(-1, 3)
    low = torch.where(periodic, 0.0, along.masked_fill(~inside, torch.inf).amin(0))
    high = torch.where(periodic, 1.0, along.masked_fill(~inside, -torch.inf).amax(0))
    span = (high - low).clamp(min=1e-9)
    length = span / frame.norm(dim=0)  # Å between the planes that bound all bins
    grid = _grid(length, radius, n)
    own = ((along - low) / span * grid).floor().clamp(min=0).minimum(grid - 1).nan_to_num(0.0).to(torch.int32)
    cells = grid.to(torch.int32)
    number = (own[:, 0] * cells[1] + own[:, 1]) * cells[2] + own[:, 2]
    sorted_numbers, atom = torch.sort(torch.where(valid, number, n), stable=True)
    first = torch.searchsorted(sorted_numbers, torch.arange(n + 1, device=wrapped.device, dtype=sorted_numbers.dtype))
    return Bins(
        grid=cells,
        reach=(radius / (length / grid)).ceil().clamp(max=1e6).to(torch.int32),
        periodic=periodic.to(torch.int32),
        own=own,
        first=first.to(torch.int32),
        atom=atom.to(torch.int32),
        positions=wrapped[atom],
    )


def _frame(lattice: torch.Tensor, reciprocal: torch.Tensor, periodic: torch.Tensor) -> torch.Tensor:
    """Return (3, 3) such that ``r @ frame`` are cells along periodic axes, and Å along unit vectors across these."""
    across = torch.eye(3, dtype=lattice.dtype, device=lattice.device) - reciprocal @ lattice  # projects on the rest
    columns = []
    for k in range(3):
        longest = across.diagonal().argmax(0, keepdim=True)  # an index of one tensor number would wait for the device
        column = across.index_select(1, longest)[:, 0]
        unit = column / column.index_select(0, longest).clamp(min=1e-12).sqrt()
        columns.append(torch.where(periodic[k], reciprocal[:, k], unit))
        across = across - torch.where(periodic[k], 0.0, unit[:, None] * unit)
    return torch.stack(columns, dim=1)


def _grid(length: torch.Tensor, radius: float, most: int) -> torch.Tensor:
    """Return (3,) whole numbers of bins as float64, each at least a radius wide, at most ``most`` in all."""
    grid = (length / radius).floor().clamp(1, most)
    for _ in range(3):  # an axis that falls to one bin leaves the rest to the others
        divided = (grid > 1).sum().clamp(min=1).to(grid)
        too_many = (grid.prod() / most).clamp(min=1.0) ** (1.0 / divided)
        grid = (grid / too_many + 1e-9).floor().clamp(min=1)  # a root may come out below a whole number
    return grid
