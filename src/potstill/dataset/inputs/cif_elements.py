"""Elements of the sites of a CIF, by type symbols or labels; ASE takes ``CU`` for carbon and ``FE`` for fluorine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from potstill.dataset.inputs.species import is_symbol
from potstill.dataset.inputs.unusable import UnusableError

LETTERS = re.compile(r"[A-Za-z]+")
TYPE = re.compile(r"([A-Za-z]{1,2})(\d*\.?\d*[+-]?|[+-]\d+)(?![A-Za-z])")  # a symbol, and its oxidation number if any
ISOTOPES = {"D": "H"}  # not T, which names the tetrahedral sites of zeolites and feldspars
WORDS = frozenset({"wat", "ph", "me", "et"})  # water, phenyl, methyl, ethyl
GROUPS = ("NO", "CN", "NH", "OG")  # in capitals groups of atoms, not elements that no crystal holds


def name_elements(block: Any) -> None:
    """Set the type symbols of a data block to symbols as they stand in the periodic table.

    Parameters
    ----------
    block
        Data block of ASE's parser.

    Raises
    ------
    UnusableError
        ``no_elements`` where a type symbol is none, or a label in capitals may be either of two elements.
    """
    types, labels = block.get("_atom_site_type_symbol"), block.get("_atom_site_label")
    if types:
        block._tags["_atom_site_type_symbol"] = [_of_type(str(word)) for word in types]
    elif labels:
        formula = elements_of_formula(str(block.get("_chemical_formula_sum") or ""))
        block._tags["_atom_site_type_symbol"] = [_of_label(str(word), formula) for word in labels]


def formula_tokens(formula: str) -> list[tuple[str, str]]:
    """Return pairs of a symbol and its amount as text, empty where it is 1; capitals such as ``CU2 O1`` are understood."""
    words = formula.replace("'", " ").replace('"', " ").split()
    parts = [re.fullmatch(r"([A-Za-z]{1,2})([\d.]*)", word) for word in words]
    if len(words) > 1 and all(part and is_symbol(_written(part[1])) for part in parts):
        return [(_written(part[1]), part[2]) for part in parts if part]
    return re.findall(r"([A-Z][a-z]?)([\d.]*)", formula)


def elements_of_formula(formula: str) -> set[str]:
    """Return the chemical symbols of a stated formula."""
    return {symbol for symbol, _ in formula_tokens(formula)}


def _of_type(word: str) -> str:
    """Return the element of a type symbol such as ``Fe3+`` or ``CU``."""
    found = TYPE.fullmatch(word)
    symbol = _written(found[1]) if found else ""
    if found and is_symbol(symbol) and found[1] not in GROUPS:
        return symbol
    raise UnusableError("no_elements", f"the type symbol {word!r} is no chemical symbol")


def _of_label(word: str, formula: Sequence[str] | set[str]) -> str:
    """Return the element of a label such as ``Fe1`` or ``O1W``, by the formula where its capitals allow two elements."""
    letters = LETTERS.match(word)
    text = letters[0] if letters else ""
    one, two = ISOTOPES.get(text[:1], text[:1].upper()), _written(text[:2])
    if len(text) > 1 and text[1].islower() and is_symbol(two):
        return two
    fit = [symbol for symbol in dict.fromkeys((one, "" if text[:2] in GROUPS else two)) if is_symbol(symbol)]
    if text.lower() in WORDS:
        fit = []
    if text[:2].isupper() and len(fit) > 1 and formula:
        fit = [symbol for symbol in fit if symbol in formula]
    if len(fit) != 1:
        meaning = f"may be {' or '.join(fit)}" if fit else "names no element"
        raise UnusableError("no_elements", f"the label {word!r} {meaning}; add _atom_site_type_symbol to the file")
    return fit[0]


def _written(letters: str) -> str:
    symbol = letters.capitalize()
    return ISOTOPES.get(symbol, symbol)
