"""Net charge and unpaired electrons that a file states, whatever its format.

Neither a dataset nor a student has a charge or a spin, so an ion or a radical is refused unless the user says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from potstill.core.types import Array
from potstill.dataset.inputs.unusable import UnusableError

CHARGE_KEY = re.compile(  # and total_charge, mol_charge, … which are other words for it
    r"(\w+_)?(net|tot|total|mol|molecular|formal|ionic|system|cell|excess)?(charge|chrg|chg|qtot)(_state)?"
)
SPIN_KEY = re.compile(r"(\w+_)?(2s|(total)?spin(_?mult(iplicity)?)?|multiplicity|mult|uhf|(n|num)?_?unpaired(_?electrons)?)")
OF_ATOMS = ("initial_charges", "charges", "formal_charges", "formal_charge", "partial_charges", "partial_charge", "q")
OF_A_SCHEME = re.compile(r"\w+_charges?|\w+_q|mmcharges", re.IGNORECASE)  # such as hirshfeld_charges
ROUNDING = 0.1  # electrons: partial charges of a neutral structure do not add up to exactly zero
IN_A_TITLE = re.compile(r"(?<![A-Za-z])charge\s*[=:]?\s*([-+]?\d+(?:\.\d+)?)(?![\w.])", re.IGNORECASE)
HINT = "to use it anyway: ignore_charge, --ignore-charge"


def on_title(title: str) -> list[str]:
    """Return a remark where the title of a file of a format without a charge states one that is not zero."""
    found = IN_A_TITLE.search(title)
    return [f"the title says '{found[0]}', which is not read"] if found and float(found[1]) else []


def facts_on_charge(
    info: Mapping[str, Any], arrays: Mapping[str, Any], parameters: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, float]:
    """Return the net charge and the spin as stated, by the keys ``charge`` and ``spin``; without those not stated.

    Parameters
    ----------
    info
        Facts about the frame.
    arrays
        Facts about each atom; the sum of ``initial_charges``, else of ``charges`` and other names, is a net charge.
    parameters
        Parameters of the calculator, nested as its program has them; their numbers count where ``info`` states none.

    Raises
    ------
    UnusableError
        If a charge or spin is no number.
    """
    lower = {str(key).lower(): value for key, value in info.items() if value is not True}  # a bare word of a comment
    of_calculator = _numbers_of(parameters)
    facts = {}
    for name, pattern in (("charge", CHARGE_KEY), ("spin", SPIN_KEY)):
        for places in (lower, of_calculator):
            keys = [key for key in places if pattern.fullmatch(key) and places[key] is not None]
            keys = [key for key in keys if key == name or np.size(places[key]) == 1]
            if keys:
                key = min(keys, key=len)  # 'charge' before all others
                facts[name] = _number(key, places[key])
                break
    schemes = [key for key in arrays if OF_A_SCHEME.fullmatch(str(key)) and np.asarray(arrays[key]).dtype.kind in "fiu"]
    of_atoms = next((arrays[key] for key in (*OF_ATOMS, *schemes) if arrays.get(key) is not None), None)
    if "charge" not in facts and of_atoms is not None:
        facts["charge"] = float(np.round(np.sum(of_atoms), 3))
    return facts


def refuse_charge(facts: Mapping[str, float], numbers: Array, *, periodic: bool) -> None:
    """Refuse an ion or a radical.

    Some programs state a multiplicity as ``spin``, others a number of unpaired electrons. With an even number of electrons
    1 is a multiplicity and no electron is unpaired; with an odd number one electron is unpaired either way.

    Raises
    ------
    UnusableError
        ``charged`` or ``radical``.
    """
    if is_charged(facts):
        raise UnusableError("charged", f"the file states a net charge of {facts['charge']:g}, and labels have none; {HINT}")
    if is_radical(facts, numbers, periodic=periodic):
        electrons = int(np.sum(numbers, dtype=np.int64))
        raise UnusableError("radical", f"the file states a spin of {facts['spin']:g} for {electrons} electrons; {HINT}")


def is_charged(facts: Mapping[str, float]) -> bool:
    """Return whether facts state a net charge."""
    return abs(facts.get("charge", 0.0)) > ROUNDING


def is_radical(facts: Mapping[str, float], numbers: Array, *, periodic: bool) -> bool:
    """Return whether facts state unpaired electrons, by the rule of :func:`refuse_charge`."""
    spin = facts.get("spin", 0.0)
    electrons = int(np.sum(numbers, dtype=np.int64))
    return not (spin == 0 or (spin == 1 and (periodic or electrons % 2 == 0)))


def _numbers_of(parameters: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers among the parameters of a calculator, by name, whatever section they stand in."""
    found: dict[str, float] = {}
    for key, value in parameters.items():
        if isinstance(value, Mapping):
            found |= _numbers_of(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[str(key).lower()] = float(value)
    return found


def _number(key: str, value: Any) -> float:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise UnusableError("unreadable", f"'{key}' is {value!r}, expected a number") from None
    return float(array.sum())
