"""Labels of a frame: under which keys they are looked for, in which convention, and which keys are only named.

Energy, forces and stress are taken from the keys that the options name, else from ``REF_energy``, ``REF_forces`` and
``REF_stress``, else from the results of the calculator (in extended XYZ the keys ``energy``, ``forces``, ``stress``).
Where there is no stress, a virial gives it: stress = -virial / volume. Units are eV, eV/Å, eV/Å^3; ASE's readers of other
programs convert to these.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from potstill.core.types import Array, Labels
from potstill.dataset.inputs.options import ReadOptions
from potstill.dataset.inputs.units import foreign_unit_of_key, is_unit
from potstill.dataset.inputs.unusable import UnusableError

VIRIAL_KEYS = ("REF_virials", "REF_virial", "virials", "virial")
LOOKS_LIKE_A_LABEL = re.compile(
    r"energ|force|stress|virial|gradient|^[eu]_?0?$|^(e_?tot|e_?pot|toten|frc|pe$|f$)|_[ef]$", re.IGNORECASE
)
OF_ATOMS = ("forces_weights", "force_weights", "force_weight")  # one for each atom
MASKS = ("forces_mask", "force_mask")  # true leaves an atom out for QUIP, and takes it for others
WEIGHTS = {
    "energy": ("config_energy_weight", "energy_weight"),
    "forces": ("config_forces_weight", "forces_weight", *OF_ATOMS),
    "stress": ("config_stress_weight", "stress_weight"),
    "virial": ("config_virials_weight", "virials_weight", "config_stress_weight", "stress_weight"),
}
WEIGHT_KEYS = frozenset(("config_weight", *MASKS, *(key for keys in WEIGHTS.values() for key in keys)))
NOT_USED = "energy and forces of the file are not used, since a teacher labels anew; label.teacher {name: given} takes them"
FREE_ENERGY_ROUNDING = 1e-6  # eV
WITH_DISPERSION = "energy_with_dispersion_correlation"  # as ASE's reader of CASTEP spells it
NAMELESS = ("", "unknown")  # of a calculator, in files of ASE
PER_ATOM = re.compile(r"energ\w*_?per_?atom", re.IGNORECASE)
OF_OTHER_SIGN = {  # what a key names that is minus a label
    re.compile(r"grad|(^|_)d_?e(n|nergy)?_?d|^neg|minus_?f", re.IGNORECASE): "a gradient, minus the forces,",
    re.compile(r"pressure|(^|_)press(_|$)", re.IGNORECASE): "a pressure, minus the stress,",
}
VIRIAL_NUMBERS = 9
DISAGREEMENT = 0.05  # of a stress and the virial beside it
Found = tuple[str, Any]


def labels_not_used(atoms: Any, options: ReadOptions) -> list[str]:
    """Return a remark where an ASE ``Atoms`` has an energy and forces, and labels are not asked for."""
    results = dict(atoms.calc.results) if atoms.calc is not None else {}
    places = {**results, **atoms.arrays, **atoms.info}
    keys = {"energy": options.energy_key or "REF_energy", "forces": options.forces_key or "REF_forces"}
    return [NOT_USED] if all(key in places or name in results for name, key in keys.items()) else []


def labels_of_frame(atoms: Any, options: ReadOptions) -> tuple[Labels | None, list[str]]:
    """Return the labels of an ASE ``Atoms``, or None, and a remark about each key that was not taken.

    Raises
    ------
    UnusableError
        If a key that the options name is not there, a label has a wrong shape, or is not finite.
    """
    results = dict(atoms.calc.results) if atoms.calc is not None else {}
    places = {**results, **atoms.arrays, **atoms.info}
    found = {
        "energy": _find(places, results, options.energy_key, "energy"),
        "forces": _find(places, results, options.forces_key, "forces"),
        "stress": _find(places, results, options.stress_key, "stress"),
        "virial": next(((key, places[key]) for key in VIRIAL_KEYS if key in places), None),
    }
    _refuse_other_numbers([label[0] for label in found.values() if label])
    remarks = _drop_other_stress(found, results, options) + _take_as_virial(found) + _drop_placeholders(found, places)
    energy, forces, stress, virial = found.values()
    taken = {label[0] for label in (energy, forces, stress) if label}
    tensor = None
    if stress is not None:
        tensor = _tensor(*stress)
    if virial is not None and abs(atoms.cell.volume) > 0 and np.size(virial[1]) == VIRIAL_NUMBERS:
        refuse_asymmetric(virial[0], np.asarray(virial[1], dtype=np.float64).reshape(3, 3))
        by_virial = -np.asarray(virial[1], dtype=np.float64).reshape(3, 3) / abs(atoms.cell.volume)
        taken.add(virial[0])
        if tensor is None:
            tensor = by_virial
        elif _apart(tensor, by_virial):
            remarks.append(f"the stress and -virial/V of '{virial[0]}' disagree; the stress is taken")
    if tensor is not None and not atoms.pbc.all():
        tensor = None
        remarks.append("stress is not kept: the structure is not periodic in all three directions")
    remarks += _beside(places, taken, options, complete=energy is not None and forces is not None)
    if energy is None or forces is None:
        alone = energy or forces
        if alone is not None:
            lacking = "forces" if forces is None else "energy"
            remarks.append(f"'{alone[0]}' is not taken: the frame has no {lacking} beside it")
        return None, remarks
    remarks += _free_energy(results, energy) + _two_families(energy[0], forces[0], results, options)
    if WITH_DISPERSION in places and energy[0] == "energy":
        raise UnusableError(
            "mixed_labels",
            f"forces of CASTEP have dispersion in them, 'energy' has none; name energy_key: {WITH_DISPERSION}",
        )
    labels = Labels(_energy(*energy), _forces(*forces, len(atoms)), tensor)
    if not options.keep_not_finite:
        _refuse_not_finite(labels)
    return labels, remarks


def origin_of_labels(atoms: Any, options: ReadOptions) -> str:
    """Return the name of the calculator that labels of an ASE ``Atoms`` are of, else the key of their energy.

    The head of a model with several, as MACE's files state it, stands behind the name: each is another method.
    """
    head = str(atoms.info.get("head", "")).strip()
    of = f" of head {head}" if head and head.lower() != "default" else ""
    if options.energy_key:
        return f"{options.energy_key}{of}"
    if "REF_energy" in atoms.info:
        return f"REF_energy{of}"
    name = getattr(atoms.calc, "name", None)
    return f"{'energy' if not name or name in NAMELESS else name}{of}"


def _refuse_other_numbers(keys: Sequence[str]) -> None:
    """Refuse labels whose own key states another unit, as ``stress_GPa`` does, a number per atom, or minus a label.

    Raises
    ------
    UnusableError
        ``units`` with the key.
    """
    for key in keys:
        unit = foreign_unit_of_key(key)
        if unit:
            raise UnusableError(
                "units", f"'{key}' states {unit} by its name, expected eV, eV/Å and eV/Å^3: convert it first"
            )
        if PER_ATOM.search(key):
            raise UnusableError("units", f"'{key}' is per atom by its name, expected the total energy: multiply it first")
        if of := next((of for pattern, of in OF_OTHER_SIGN.items() if pattern.search(key)), ""):
            raise UnusableError("units", f"'{key}' is {of} by its name: change the sign first, under another key")


def _drop_other_stress(found: dict[str, Found | None], results: Mapping[str, Any], options: ReadOptions) -> list[str]:
    """Drop the stress of a calculator whose energy or forces are not taken, and return a remark about it."""
    others = [name for name in ("energy", "forces") if results.get(name) is not None]
    taken = [label[0] for label in (found["energy"], found["forces"]) if label is not None]
    remarks = []
    for name, own in (("stress", options.stress_key), ("virial", "")):
        label = found[name]
        if label is None or own or label[0] not in ("stress", "virial", "virials"):
            continue
        if others and taken and not set(taken) & {"energy", "forces"}:
            remarks.append(f"'{label[0]}' is not taken: it may be of the calculation of '{others[0]}', not of '{taken[0]}'")
            found[name] = None
    return remarks


def _take_as_virial(found: dict[str, Found | None]) -> list[str]:
    """Move what the option for stress names to the virials where its own name says so, and return a remark about it.

    Raises
    ------
    UnusableError
        ``wrong_label`` if it is not nine numbers.
    """
    stress = found["stress"]
    if stress is None or "virial" not in stress[0].lower():
        return []
    if np.size(stress[1]) != VIRIAL_NUMBERS:
        raise UnusableError(
            "wrong_label", f"'{stress[0]}' has {np.size(stress[1])} numbers, expected nine of a virial in eV"
        )
    found.update(stress=None, virial=stress)
    return [f"'{stress[0]}' is taken as a virial in eV: stress = -virial / volume"]


def _drop_placeholders(found: dict[str, Found | None], places: Mapping[str, Any]) -> list[str]:
    """Drop labels with a weight of zero, by which trainers mark one that is not there, and return a remark about each."""
    lower = {str(key).lower(): key for key in places}
    remarks = []
    mask = next((lower[key] for key in MASKS if key in lower), None)
    if mask is not None and found["forces"] is not None:
        remarks.append(
            f"'{found['forces'][0]}' is not taken: '{mask}' leaves out atoms, those of true or of false by the program; "
            "remove it where all forces count"
        )
        found["forces"] = None
    for name, label in found.items():
        keys = [lower[key] for key in ("config_weight", *WEIGHTS[name]) if key in lower]
        zero = next((key for key in keys if _is_number(places[key]) and np.any(np.asarray(places[key]) == 0)), None)
        if label is not None and zero is not None:
            where = "" if np.size(places[zero]) == 1 else f" for {np.sum(np.asarray(places[zero]) == 0)} atoms"
            remarks.append(f"'{label[0]}' is not taken: '{zero}' is 0{where}, as of a placeholder")
            found[name] = None
    return remarks


def _is_number(value: Any) -> bool:
    return np.asarray(value).dtype.kind in "biuf"


def _find(places: Mapping[str, Any], results: Mapping[str, Any], key: str, name: str) -> Found | None:
    """Return the key and the value of one kind of label."""
    if key:
        if key not in places:
            known = ", ".join(sorted(k for k in places if LOOKS_LIKE_A_LABEL.search(k))) or "no key that looks like a label"
            raise UnusableError("no_label_key", f"there is no '{key}' (option {name}_key); the frame has {known}")
        return key, places[key]
    if f"REF_{name}" in places:
        return f"REF_{name}", places[f"REF_{name}"]
    return (name, results[name]) if results.get(name) is not None else None


def _beside(places: Mapping[str, Any], taken: set[str], options: ReadOptions, *, complete: bool) -> list[str]:
    """Return a remark that names the keys which look like labels and were not taken."""
    ignored = {"free_energy", "energies", "stresses", *filter(is_unit, places)} | (
        {"energy", "forces", "stress"} if complete else set()
    )
    left = sorted(
        key
        for key in places
        if LOOKS_LIKE_A_LABEL.search(key) and key not in taken | ignored and key.lower() not in WEIGHT_KEYS
    )
    if "free_energy" in places and not complete and "energy" not in places:
        left = sorted([*left, "free_energy"])
    if not left:
        return []
    keys = ", ".join(f"'{key}'" for key in left)
    if complete:
        return [f"not taken: {keys}; labels are {', '.join(sorted(taken))}"]
    ask = "" if options.energy_key and options.forces_key else "; name them by energy_key, forces_key and stress_key"
    return [f"no labels are read, and these keys look like some: {keys}{ask}"]


def _two_families(energy: str, forces: str, results: Mapping[str, Any], options: ReadOptions) -> list[str]:
    """Return a remark where one label has the prefix of reference labels and the other has none.

    Results of one calculator, such as a free energy with its forces, are of one calculation.
    """
    named = bool(options.energy_key and options.forces_key)
    if named or {energy, forces} <= results.keys() or (energy == "energy") == (forces == "forces"):
        return []
    return [f"'{energy}' and '{forces}' may be of two calculations; name the keys by energy_key and forces_key"]


def _free_energy(results: Mapping[str, Any], energy: Found) -> list[str]:
    free = results.get("free_energy")
    if free is None or energy[0] != "energy" or not np.isfinite([free, energy[1]]).all():
        return []
    if abs(float(free) - float(energy[1])) <= FREE_ENERGY_ROUNDING:
        return []
    return ["'energy' is taken and differs from 'free_energy', of which forces are the slope; choose it by energy_key"]


def _energy(key: str, value: Any) -> float:
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "fiu":
        raise UnusableError("wrong_label", f"'{key}' is {str(value)[:40]!r}, expected one number in eV")
    return float(array.reshape(()))


def _forces(key: str, value: Any, atoms: int) -> Array:
    array = np.asarray(value)
    if array.dtype.kind not in "fiu" or array.shape != (atoms, 3):
        raise UnusableError("wrong_label", f"'{key}' has shape {array.shape}, expected ({atoms}, 3) in eV/Å")
    return np.array(array, dtype=np.float64)


def _tensor(key: str, value: Any) -> Array:
    """Return (3, 3) stress from nine numbers, or from six in Voigt order xx, yy, zz, yz, xz, xy."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiu" or array.size not in (6, 9):
        raise UnusableError("wrong_label", f"'{key}' has shape {array.shape}, expected 9 or 6 numbers in eV/Å^3")
    flat = np.array(array, dtype=np.float64).reshape(-1)
    if flat.size == 6:
        return flat[[[0, 5, 4], [5, 1, 3], [4, 3, 2]]]
    refuse_asymmetric(key, flat.reshape(3, 3))
    return flat.reshape(3, 3)


def refuse_asymmetric(key: str, tensor: Array) -> None:
    """Refuse a (3, 3) stress or virial that is not symmetric: nine numbers in another order, or of another meaning.

    Raises
    ------
    UnusableError
        ``wrong_label`` with the key.
    """
    if np.isfinite(tensor).all() and _apart(tensor, tensor.T):
        raise UnusableError("wrong_label", f"'{key}' is no symmetric tensor: {np.round(tensor, 6).tolist()}")


def _apart(a: Array, b: Array) -> bool:
    return bool(np.abs(a - b).max() > DISAGREEMENT * max(np.abs(a).max(), np.abs(b).max()) + 1e-6)


def _refuse_not_finite(labels: Labels) -> None:
    for name, value in (("energy", labels.energy), ("forces", labels.forces), ("stress", labels.stress)):
        array = np.asarray(0.0 if value is None else value)
        if not np.isfinite(array).all():
            first = array[~np.isfinite(array)].reshape(-1)[0]
            raise UnusableError("not_finite", f"{name} {'is' if name != 'forces' else 'contain'} {first}")
