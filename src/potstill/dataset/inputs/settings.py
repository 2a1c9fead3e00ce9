"""Symmetry operations of a CIF that names a space group and lists none.

Many groups have several settings: two choices of origin, hexagonal or rhombohedral axes, permuted axes. The readers of ASE
and pymatgen take the first. Here the stated setting is taken, and where several remain the file is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np

from potstill.core.registry import borrow
from potstill.dataset.inputs.unusable import UnusableError

OPERATIONS = ("_space_group_symop_operation_xyz", "_space_group_symop.operation_xyz", "_symmetry_equiv_pos_as_xyz")
SYMBOL = (
    "_space_group_name_h-m_alt",
    "_space_group.name_h-m_alt",
    "_symmetry_space_group_name_h-m",
    "_symmetry.space_group_name_h-m",
)
HALL = (
    "_space_group_name_hall",
    "_space_group.name_hall",
    "_symmetry_space_group_name_hall",
    "_symmetry.space_group_name_hall",
)
NUMBER = ("_space_group_it_number", "_space_group.it_number", "_symmetry_int_tables_number", "_symmetry.int_tables_number")
CODE = ("_space_group_it_coordinate_system_code", "_space_group.it_coordinate_system_code", "_symmetry_space_group_setting")
OLD_NAMES = {"abm2": "aem2", "aba2": "aea2", "cmca": "cmce", "cmma": "cmme", "ccca": "ccce"}
OLD_CODES = {"s": "1", "z": "2", "h": "h", "r": "r"}  # of a symbol such as 'F d -3 m S'
SETTINGS = range(1, 531)
ANGLE = 0.01  # degrees


def operations(tags: Mapping[str, Any], cell: Sequence[float]) -> list[str]:
    """Return the operations, as ``x,y,z``, of the setting that a CIF states.

    Parameters
    ----------
    tags
        Values of a data block by lower-case names.
    cell
        Lengths in Å and angles in degrees.

    Returns
    -------
    list of str
        Empty where the file lists operations itself, or names no group.

    Raises
    ------
    UnusableError
        ``unreadable`` for an unknown group; ``ambiguous_setting`` where several settings remain.
    """
    if any(_first(tags, (name,)) for name in OPERATIONS):
        return []
    symbol, hall, number = _first(tags, SYMBOL), _plain(_first(tags, HALL)), _first(tags, NUMBER)
    name, _, suffix = symbol.partition(":")
    name, code = _plain(name), _plain(suffix) or _plain(_first(tags, CODE))
    if not (name or hall or number) or name == "p1":
        return []
    borrow("spglib", "crystals", "a CIF without symmetry operations")
    found = _named(name, hall, number)
    if not found and name[-1:] in OLD_CODES:
        found, code = _named(name[:-1], hall, number), OLD_CODES[name[-1]]
    what = " ".join(filter(None, (symbol, hall and f"(Hall {_first(tags, HALL)})", number and f"number {number}")))
    if not found:
        raise UnusableError("unreadable", f"the space group {what} is unknown, or its names disagree")
    chosen = [h for h in found if _plain(_setting(h).choice) == code] if code else _by_axes(found, cell)
    if len(chosen) != 1:
        choices = ", ".join(_setting(h).choice or "standard" for h in found[:6])
        raise UnusableError(
            "ambiguous_setting",
            f"the space group {what} has several settings ({choices}), "
            f"{f'none of them is {code}' if code else 'the file states none'}, and it lists no symmetry operations",
        )
    return _as_text(chosen[0])


def refuse_other_operations(tags: Mapping[str, Any], listed: int) -> None:
    """Refuse a CIF that lists fewer or more symmetry operations than the group that it names has.

    Raises
    ------
    UnusableError
        ``wrong_operations``; never where the group is unknown, or spglib is not installed.
    """
    symbol, hall, number = _first(tags, SYMBOL), _plain(_first(tags, HALL)), _first(tags, NUMBER)
    name = _plain(symbol.partition(":")[0])
    if not (name or hall or number) or find_spec("spglib") is None:
        return
    found = _named(name, hall, number) or (_named(name[:-1], hall, number) if name[-1:] in OLD_CODES else [])
    orders = sorted({len(_as_text(h)) for h in found})
    if found and listed not in orders:
        raise UnusableError(
            "wrong_operations",
            f"it lists {listed} symmetry operations, and the group {symbol or hall or number} has "
            f"{' or '.join(map(str, orders))}; list all of them, or name the group P 1 where all atoms are listed",
        )


def _named(name: str, hall: str, number: str) -> list[int]:
    """Return the settings that fit all names given."""
    found = list(SETTINGS)
    if hall:
        found = [h for h in found if _plain(_setting(h).hall_symbol) == hall]
    if name:
        name = OLD_NAMES.get(name, name)
        found = [h for h in found if name in _names_of(h)]
    if number.strip().isdigit():
        found = [h for h in found if _setting(h).number == int(number)]
    return found


@lru_cache(maxsize=1024)
def _setting(h: int) -> Any:
    import spglib

    return spglib.get_spacegroup_type(h)


@lru_cache(maxsize=1024)
def _names_of(h: int) -> frozenset[str]:
    """Return the symbols of a setting, without blanks and in lower case; ``P 1 21/c 1`` is also ``P 21/c``."""
    setting = _setting(h)
    full = str(setting.international_full)
    without_ones = "".join(word for word in full.split() if word != "1")
    names = {_plain(full), _plain(without_ones)}
    if not 3 <= setting.number <= 15:  # the short symbol of a monoclinic group is that of its first setting
        names.add(_plain(str(setting.international).partition("=")[0]))
        names.add(_plain(str(setting.international_short)))
    return frozenset(names)


def _by_axes(found: list[int], cell: Sequence[float]) -> list[int]:
    """Return the settings that the angles of the cell allow; for a monoclinic cell of right angles, b is unique."""
    angles = np.array(cell[3:6], dtype=float)
    right = np.abs(angles - 90.0) < ANGLE
    if all(_setting(h).choice in ("H", "R") for h in found):
        hexagonal = bool(right[0] and right[1] and abs(angles[2] - 120.0) < ANGLE)
        return [h for h in found if (_setting(h).choice == "H") == hexagonal]
    if len(found) > 1 and all(3 <= _setting(h).number <= 15 for h in found):
        unique = "abc"[int(np.flatnonzero(~right)[0])] if (~right).sum() == 1 else "b"
        return [h for h in found if unique in _setting(h).choice]
    return found


@lru_cache(maxsize=64)
def _as_text(h: int) -> list[str]:
    import spglib

    symmetry: Any = spglib.get_symmetry_from_database(h)
    return [_operation(r, t) for r, t in zip(symmetry["rotations"], symmetry["translations"], strict=True)]


def _operation(rotation: Any, translation: Any) -> str:
    parts = []
    for row, shift in zip(rotation, translation, strict=True):
        terms = [f"{'+' if k > 0 else '-'}{axis}" for k, axis in zip(row, "xyz", strict=True) if k]
        twelfths = round(float(shift) * 12) % 12
        parts.append("".join(terms) + (f"+{twelfths}/12" if twelfths else ""))
    return ",".join(parts)


def _first(tags: Mapping[str, Any], names: Sequence[str]) -> str:
    value = next((tags[name] for name in names if tags.get(name) not in (None, "", "?", ".")), "")
    return str(value[0] if isinstance(value, list) and value else value)


def _plain(text: Any) -> str:
    return str(text).strip().strip("'\"").replace(" ", "").replace("_", "").lower()
