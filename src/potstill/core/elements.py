"""Chemical elements: symbols, atomic numbers, covalent radii."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from potstill.core.errors import InputError
from potstill.core.registry import nearest
from potstill.core.types import Array


def covalent_radii() -> Array:
    """Return (119,) covalent radii in Å by atomic number (Cordero et al., Dalton Trans. 2008), as ASE ships them."""
    from ase.data import covalent_radii as radii

    table = np.full(119, 1.5)
    table[: len(radii)] = radii[:119]
    return table


def atomic_numbers_of(symbols: Iterable[str]) -> list[int]:
    """Return the atomic numbers of chemical symbols.

    Raises
    ------
    InputError
        If a symbol is not a chemical element.
    """
    from ase.data import atomic_numbers

    names = list(symbols)
    for name in names:
        if not atomic_numbers.get(name):
            raise InputError(f"no element named '{name}'; {nearest(name, [s for s in atomic_numbers if atomic_numbers[s]])}")
    return [atomic_numbers[name] for name in names]


def symbols_of(atomic_numbers: Iterable[int]) -> list[str]:
    """Return the chemical symbols in the order of atomic numbers, each once."""
    from ase.data import chemical_symbols

    return [chemical_symbols[z] for z in sorted({int(z) for z in atomic_numbers})]
