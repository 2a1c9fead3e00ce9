"""Elements that sources draw from where their options name none, and the sizes of atoms in metals."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from potstill.core.elements import symbols_of

UNCOMMON = {"Po", "At", "Rn", "Fr", "Ra"}  # absent from every large set of reference calculations
HEAVIEST = 94
NOBLE = {"He", "Ne", "Ar", "Kr", "Xe"}
NO_METALS = NOBLE | {"H", "B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Ge", "As", "Se", "Br", "Te", "I"}
PACKINGS = ("fcc", "bcc", "hcp")
# Å^3 per atom from the densities of the solids, for metals with other structures than fcc, bcc and hcp
OTHER_VOLUMES = {
    "Mn": 12.2,
    "Ga": 19.6,
    "In": 26.2,
    "Sn": 27.0,
    "Sb": 30.2,
    "Hg": 23.4,
    "Bi": 35.4,
    "Pm": 33.6,
    "Sm": 33.2,
    "Pa": 25.2,
    "U": 20.7,
    "Np": 19.2,
    "Pu": 20.4,
}


def allowed(elements: Sequence[str]) -> tuple[str, ...]:
    """Return the elements named, or H to Pu without noble gases and without those known by their decay only."""
    everything = symbols_of(range(1, HEAVIEST + 1))
    return tuple(elements) or tuple(s for s in everything if s not in UNCOMMON | NOBLE)


def metals(elements: Sequence[str]) -> tuple[str, ...]:
    """Return the metals among the allowed elements."""
    return tuple(s for s in allowed(elements) if s not in NO_METALS | UNCOMMON and s in _metallic_volumes())


def metal_volume(symbol: str) -> float:
    """Return the volume of an atom in the solid metal, in Å^3.

    >>> round(metal_volume("Cu"), 2)
    11.76
    """
    return _metallic_volumes()[symbol]


def metal_packing(symbol: str) -> tuple[str, float | None]:
    """Return the crystal structure of a metal: fcc, bcc, hcp with its c/a, or fcc for any other."""
    from ase.data import atomic_numbers

    reference = _reference_state(atomic_numbers[symbol])
    packing = reference.get("symmetry", "")
    return (packing if packing in PACKINGS else "fcc"), (reference["c/a"] if packing == "hcp" else None)


@lru_cache(maxsize=1)
def _metallic_volumes() -> dict[str, float]:
    """Return cell volume over atoms of the reference states that ASE ships, in Å^3."""
    from ase.data import chemical_symbols

    volumes = dict(OTHER_VOLUMES)
    per_cubed_edge = {"fcc": 1 / 4, "bcc": 1 / 2, "hcp": 3**0.5 / 4}
    for z in range(1, HEAVIEST + 1):
        symbol, reference = chemical_symbols[z], _reference_state(z)
        factor = per_cubed_edge.get(reference.get("symmetry", ""))
        if symbol not in NO_METALS and factor is not None:
            volumes[symbol] = factor * reference["a"] ** 3 * reference.get("c/a", 1.0)
    return volumes


def _reference_state(atomic_number: int) -> dict[str, Any]:
    """Return structure and lattice constants of the element, as ASE ships them."""
    from ase.data import reference_states

    return dict(reference_states[atomic_number] or {})
