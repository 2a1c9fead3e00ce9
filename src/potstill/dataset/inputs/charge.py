"""Net charge and unpaired electrons that a file states, whatever its format.

Neither a dataset nor a student has a charge or a spin, so an ion or a radical is refused unless the user says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from potstill.core.types import Array
from potstill.dataset.inputs.unusable import UnusableError

CHARGE_KEYS = ("charge", "total_charge", "net_charge", "tot_charge", "qtot")
SPIN_KEYS = ("spin", "total_spin", "multiplicity", "spin_multiplicity", "mult", "uhf", "unpaired_electrons")
ROUNDING = 0.1  # electrons: partial charges of a neutral structure do not add up to exactly zero
HINT = "to use it anyway: ignore_charge, --ignore-charge"


def facts_on_charge(info: Mapping[str, Any], arrays: Mapping[str, Any]) -> dict[str, float]:
    """Return the net charge and the spin as stated, by the keys ``charge`` and ``spin``; without those not stated.

    Parameters
    ----------
    info
        Facts about the frame.
    arrays
        Facts about each atom; the sum of ``initial_charges``, else of ``charges``, is a net charge.

    Raises
    ------
    UnusableError
        If a charge or spin is no number.
    """
    lower = {str(key).lower(): value for key, value in info.items() if value is not True}  # a bare word of a comment
    facts = {}
    for name, keys in (("charge", CHARGE_KEYS), ("spin", SPIN_KEYS)):
        key = next((key for key in keys if lower.get(key) is not None), None)
        if key is not None:
            facts[name] = _number(key, lower[key])
    of_atoms = next((arrays[key] for key in ("initial_charges", "charges") if arrays.get(key) is not None), None)
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
    charge, spin = facts.get("charge", 0.0), facts.get("spin", 0.0)
    if abs(charge) > ROUNDING:
        raise UnusableError("charged", f"the file states a net charge of {charge:g}, and labels have none; {HINT}")
    electrons = int(np.sum(numbers, dtype=np.int64))
    closed_shell = spin == 0 or (spin == 1 and (periodic or electrons % 2 == 0))
    if not closed_shell:
        raise UnusableError("radical", f"the file states a spin of {spin:g} for {electrons} electrons; {HINT}")


def _number(key: str, value: Any) -> float:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise UnusableError("unreadable", f"'{key}' is {value!r}, expected a number") from None
    return float(array.sum())
