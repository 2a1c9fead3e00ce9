"""Functions of an edge: radial functions, spherical harmonics, and the slots of an atom's edges."""

from __future__ import annotations

import math

import torch

from potstill.student.options import BOND_SHARE


def cutoff_envelope(x: torch.Tensor, p: int = 5) -> torch.Tensor:
    """Return a polynomial that is 1 at 0 and vanishes with two derivatives at 1 (Gasteiger et al., ICLR 2020, eq. 8)."""
    x = x.clamp(max=1.0)
    a, b, c = -(p + 1) * (p + 2) / 2, p * (p + 2), -p * (p + 1) / 2
    return 1.0 + x**p * (a + x * (b + x * c))


def relative_distance(distance: torch.Tensor, bond: torch.Tensor) -> torch.Tensor:
    """Return d^2 / (d^2 + c R^2) of distances d and sums R of the covalent radii of both atoms, with c = ``BOND_SHARE``.

    It rises from 0 to 1 and has the same value for bonds of all pairs of elements, so that radial functions of it mean the
    same for all. The transform of distances in MACE-MP-0 (Batatia et al., arXiv:2401.00096) has the same purpose.
    """
    squared = distance.square()
    return squared / (squared + BOND_SHARE * bond.square())


def radial_functions(distance: torch.Tensor, cutoff: float, count: int, bond: torch.Tensor | None = None) -> torch.Tensor:
    """Return Bessel functions times an envelope (Gasteiger, Groß and Günnemann, ICLR 2020, eq. 7).

    Those of relative distances w are sin((n - 1/2) pi w) / w. Half an order less, they are not all zero at the end, which
    relative distances do not reach.

    Parameters
    ----------
    distance
        (N, M) distances in Å.
    cutoff
        Distance in Å at which they vanish.
    count
        Number B of functions.
    bond
        (N, M) sums of the covalent radii of both atoms in Å, for functions of :func:`relative_distance`; None for those of
        the distance over the cutoff. The envelope is one of the latter in both cases.

    Returns
    -------
    torch.Tensor
        (N, B, M) values.
    """
    x = (distance / cutoff)[:, None]
    order = torch.arange(1, count + 1, dtype=distance.dtype, device=distance.device)[:, None]
    at, order = (x, order) if bond is None else (relative_distance(distance, bond)[:, None], order - 0.5)
    return torch.sin(math.pi * order * at) * (math.sqrt(2.0) * cutoff_envelope(x) / (at + 1e-6))


def spherical_harmonics(unit: torch.Tensor, l_max: int) -> torch.Tensor:
    """Return real spherical harmonics of unit vectors, each l normalised to a sum of squares of 2 l + 1.

    Parameters
    ----------
    unit
        (N, 3, ...) unit vectors.
    l_max
        Highest order: 1, 2 or 3.

    Returns
    -------
    torch.Tensor
        (N, (l_max + 1)^2, ...), ordered by l, then m from -l to l; for l = 1 that is x, y, z.
    """
    x, y, z = unit.unbind(1)
    s3, s15, s5 = math.sqrt(3.0), math.sqrt(15.0), math.sqrt(5.0)
    found = [torch.ones_like(x), s3 * x, s3 * y, s3 * z]
    xx, yy, zz = x * x, y * y, z * z
    if l_max > 1:
        found += [s15 * x * y, s15 * y * z, s5 / 2 * (3 * zz - 1), s15 * x * z, s15 / 2 * (xx - yy)]
    if l_max > 2:
        a, b, c, d = math.sqrt(35 / 8), math.sqrt(105.0), math.sqrt(21 / 8), math.sqrt(7.0) / 2
        found += [a * y * (3 * xx - yy), b * x * y * z, c * y * (5 * zz - 1), d * z * (5 * zz - 3)]
        found += [c * x * (5 * zz - 1), b / 2 * z * (xx - yy), a * x * (xx - 3 * yy)]
    return torch.stack(found, dim=1)


def slots_by_receiver(edge_index: torch.Tensor, n_atoms: int) -> tuple[torch.Tensor, int]:
    """Assign a slot to every edge in a table of atoms by slots, as wide as the fullest atom needs.

    Parameters
    ----------
    edge_index
        (2, e) edges, sorted by receiver.
    n_atoms
        Number N of atoms.

    Returns
    -------
    slot, n_slots
        (e,) indices into N times ``n_slots`` slots, and their number per atom, at least 2 as compiled students require.
    """
    receiver = edge_index[0]
    count = torch.bincount(receiver, minlength=n_atoms)
    n_slots = max(int(count.max()), 2) if len(receiver) else 2
    first = torch.cumsum(count, 0) - count
    return receiver * n_slots + torch.arange(len(receiver), device=receiver.device) - first[receiver], n_slots
