"""Elements of files that name atoms by types, force-field names or masses: stated by the user, or refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from potstill.core.errors import InputError
from potstill.core.types import Array
from potstill.dataset.inputs.options import ReadOptions
from potstill.dataset.inputs.unusable import UnusableError

MASS_ROUNDING = 0.06  # atomic mass units; the closest two elements are 0.13 apart (argon and calcium)
UNITED_ATOMS = (14.027, 16.043)  # CH2 and CH4 as one particle: near nitrogen and oxygen
SHOWN = 6
VIRTUAL = re.compile(r"MW\d?|LP\d?|EP\d?|VS\d?")  # of TIP4P, TIP5P and force fields with lone pairs


def is_symbol(word: str) -> bool:
    """Return whether a word is a chemical symbol as it is written in the periodic table."""
    return word in _numbers()


def numbers_of(tags: Sequence[str], options: ReadOptions) -> Array:
    """Return the (n,) atomic numbers of types or names, by the option ``species``.

    Raises
    ------
    UnusableError
        ``no_elements`` with the names that have no element.
    """
    given = dict(options.species)
    unknown = list(dict.fromkeys(tag for tag in tags if given.get(tag) not in _numbers()))
    if unknown:
        shown = ", ".join(unknown[:SHOWN]) + (", …" if len(unknown) > SHOWN else "")
        raise UnusableError(
            "no_elements",
            f"the file does not say which elements {shown} are; "
            f"name them by species: {{{unknown[0]}: ELEMENT, …}}, --species {unknown[0]}=ELEMENT" + _on_virtual(unknown),
        )
    return np.array([_numbers()[given[tag]] for tag in tags], dtype=np.int64)


def _on_virtual(names: Sequence[str]) -> str:
    """Return what to do with virtual sites of water models and lone pairs, which no element stands for."""
    sites = [name for name in names if VIRTUAL.fullmatch(name)]
    return f"; delete the rows of {', '.join(sites)}, if these are virtual sites" if sites else ""


def symbol_of_mass(mass: float) -> str:
    """Return the element of a mass in atomic mass units, or nothing where no element or a group of atoms has that mass."""
    from ase.data import atomic_masses, chemical_symbols

    near = np.flatnonzero(np.abs(atomic_masses[1:] - mass) <= MASS_ROUNDING) + 1
    if len(near) != 1 or min(abs(mass - united) for united in UNITED_ATOMS) < abs(mass - atomic_masses[near[0]]):
        return ""
    return str(chemical_symbols[int(near[0])])


def parse_species(words: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return the pairs of words such as ``1=Si``.

    Raises
    ------
    InputError
        If a word is none such, or names no element.
    """
    pairs = [tuple(word.partition("=")[::2]) for word in words]
    for word, (name, symbol) in zip(words, pairs, strict=True):
        if not name or not is_symbol(symbol):
            raise InputError(f"--species {word}: expected a type or name and its element, such as --species 1=Si")
    return tuple((name, symbol) for name, symbol in pairs)


@lru_cache(maxsize=1)
def _numbers() -> dict[str, int]:
    from ase.data import atomic_numbers

    return {symbol: number for symbol, number in atomic_numbers.items() if number > 0}
