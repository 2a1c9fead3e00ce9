"""Stress of a virial, and Voigt's order of a symmetric tensor: xx, yy, zz, yz, xz, xy.

ASE has the stress in Voigt's order; it is (3, 3) everywhere else.

Other programs have other orders, and signs of their own: their readers say so where they call these functions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from potstill.core.types import Array

VOIGT = ("xx", "yy", "zz", "yz", "xz", "xy")


def to_voigt(tensor: Array) -> Array:
    """Return (…, 6) components in Voigt's order of (…, 3, 3) tensors, each the mean of the two that should be equal.

    >>> to_voigt(np.array([[1.0, 6.0, 5.0], [6.0, 2.0, 4.0], [5.0, 4.0, 3.0]])).tolist()
    [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    """
    tensor = np.asarray(tensor, dtype=float)
    symmetric = (tensor + np.swapaxes(tensor, -1, -2)) / 2
    return symmetric[..., [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]


def to_voigt_matrix(tensor: Array) -> Array:
    """Return the (6, 6) matrix in Voigt's order of a (3, 3, 3, 3) tensor, each component the mean of those that are equal.

    A stiffness is such a tensor: the derivative of the stress, the last two axes, by the strain, the first two.
    """
    rows = to_voigt(np.moveaxis(tensor, (0, 1), (2, 3)))  # (3, 3, 6)
    return to_voigt(np.moveaxis(rows, -1, 0))


def from_voigt(components: Array, order: Sequence[str] = VOIGT) -> Array:
    """Return (…, 3, 3) symmetric tensors of (…, 6) components, in Voigt's order or in another.

    Parameters
    ----------
    components
        (…, 6).
    order
        Name of each component, such as ``("xx", "yy", "zz", "xy", "yz", "zx")``.

    Raises
    ------
    ValueError
        If the order does not name each component once.

    >>> from_voigt(np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])).tolist()
    [[1.0, 6.0, 5.0], [6.0, 2.0, 4.0], [5.0, 4.0, 3.0]]
    """
    place = {"".join(sorted(name)): k for k, name in enumerate(order)}
    if place.keys() != set(VOIGT) or len(order) != len(VOIGT):
        raise ValueError(f"the order must name each of {', '.join(VOIGT)} once, found {', '.join(order)}")
    index = [[place["".join(sorted((a, b)))] for b in "xyz"] for a in "xyz"]
    return np.asarray(components)[..., index]


def stress_of(virial: Array, cell: Array) -> Array | None:
    """Return the (3, 3) stress in eV/Å^3 of a virial in eV, or None where the (3, 3) cell in Å has no volume.

    Which axes are periodic does not matter: in the cell of a slab, the vacuum counts as volume.
    """
    volume = float(abs(np.linalg.det(cell)))
    return virial / volume if volume > 0 else None
