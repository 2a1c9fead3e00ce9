"""Names in files that are read or say nothing about a structure and its labels; every other name is stated as ignored.

A list of what is harmless, instead of one of what is harmful: a key that nobody thought of is named.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from potstill.core.types import Array
from potstill.dataset.inputs.charge import CHARGE_KEY, SPIN_KEY
from potstill.dataset.inputs.labels import LOOKS_LIKE_A_LABEL, VIRIAL_KEYS, WEIGHT_KEYS
from potstill.dataset.inputs.units import is_unit, of_another_quantity, states_own_unit

SHOWN = 8
IGNORED = "ignored: "
LONGEST_VALUE = 24
SAYS_GHOST = re.compile(r"ghost|dummy", re.IGNORECASE)
SAYS_FIXED = re.compile(r"fix|frozen|freez|constrain", re.IGNORECASE)
NAMED_ELSEWHERE = re.compile(  # by remarks or refusals of their own
    r"(\w+_)?(mm)?charges|charge_(model|method|scheme|type)|(\w+_)?converged|(external_|electric_|e_?)field|"
    r"pbc|lattice|cell|occupancy|potstill_\w+",
    re.IGNORECASE,
)
NOTHING_IF_ZERO = re.compile(r"q|s|sz|s2|2s", re.IGNORECASE)  # names that may be a charge or a spin
HARMLESS_FACT = re.compile(  # names, places and times of a frame
    r"""(\w+[_.-])?(uri|gindex|id|ids|uid|uuid|idx|index|name|names|label|labels|key|number|hash|path|file|filename|folder|directory)|
    title|comment|description|tags?|note|notes|author|user|date|version|age|(unique_|calculator_)?(id|version|name)|
    config(uration)?(_?type|_?group|_?name)?|(sub|data)?set|split|source|family|origin|doi|url|references?|database|project|
    frame|step|ionic_step|timestep|time|iteration|image|snapshot|n_?atoms|natoms|nat|num_atoms|volume|density|
    (chemical_|reduced_)?(formula|composition)(_\w+)?|stoichiometry|elements|symbols|prototype|phase|mineral|
    smiles|inchi(_?key)?|sid|fid|mp-?id|spacegroup|space_group|unit_cell|temperature|fmax|rmsd|csd_code|mnd|
    generator_metadata|config_weight|species|i|t|cutoff|nneightol|cutoff_skin|code|program|software""",
    re.IGNORECASE | re.VERBOSE,
)
METHOD = re.compile(r"head|functional|xc|method|level(_of_theory)?|theory|basis(_set)?|calculator|model", re.IGNORECASE)
HARMLESS_COLUMN = re.compile(  # of atoms, as ASE names them, and as programs write them
    r"""numbers|positions|species|symbols|pos|z|momenta|velocit(y|ies)|velo|vel|tags?|mass(es)?|
    (initial_|final_|\w+_)?(magmoms?|magnetic_moments)|spins?|
    ids?|type|types|mol(-?id|ecule)?|index|particle_?(id|identifier|type)|(atom_?)?(types?|names?|labels?)|
    residue(names?|numbers?|id)|resid|resname|segid|chain(id)?|bfactors?|sitenames?|atom_site_\w+|
    spacegroup_kinds|castep_(labels|custom_species)|move_mask|image(_?flags)?|travel|
    coordination(_number)?|map_shift|n_neighb|(Structure|Particle)_?Type|colou?r|radius|selection|transparency""",
    re.IGNORECASE | re.VERBOSE,
)
HARMLESS_RESULT = re.compile(  # other properties of a calculation
    r"dipole|magmoms?|charges|bandgap|fermi_level|eigenvalues|free_energy|born_effective_charges|dielectric_tensor|"
    r"polari[sz](ation|ability)|ibz_kpoints|kpoint_weights|nkpts|nspins|nbands|occupations|electronic_steps|pressure",
    re.IGNORECASE,
)


def ignored_of_atoms(atoms: Any, read: Iterable[str]) -> list[str]:
    """Return a remark with the names of facts, columns and results of an ASE ``Atoms`` that are neither read nor harmless.

    Parameters
    ----------
    atoms
        Atoms of a frame.
    read
        Keys that are read: of labels that the user named, and bare words of a comment.
    """
    known = {*read, *VIRIAL_KEYS}
    results = {} if atoms.calc is None else atoms.calc.results
    names = [_with_value(str(key), value) for key, value in atoms.info.items() if not _is_known_fact(str(key), value, known)]
    names += [
        name
        for name, column in atoms.arrays.items()
        if not _is_known(name, HARMLESS_COLUMN, HARMLESS_RESULT, read=known) and not is_marked(name, column)
    ]
    names += [name for name in results if not _is_known(name, HARMLESS_RESULT, read=known)]
    return ignored(names)


def ignored(names: Iterable[str]) -> list[str]:
    """Return one remark with the names that a reader dropped, each once, values first; none where there is none."""
    found = sorted(dict.fromkeys(names), key=lambda name: ("=" not in name, name))
    if not found:
        return []
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return [f"{IGNORED}{', '.join(found[:SHOWN])}{more}"]


def unknown(names: Iterable[str], harmless: re.Pattern[str]) -> list[str]:
    """Return a remark with the names that a pattern of harmless ones does not match as a whole."""
    return ignored(name for name in names if not harmless.fullmatch(name))


def is_flag(column: Array) -> bool:
    """Return whether a column holds one yes or no for each atom: true and false, or integers of 1 and 0."""
    return column.ndim == 1 and (column.dtype == bool or (column.dtype.kind in "iu" and bool(np.isin(column, (0, 1)).all())))


def is_marked(name: str, column: Array) -> bool:
    """Return whether a column marks atoms that are fixed, or that are none."""
    return is_flag(column) and bool(SAYS_FIXED.search(name) or SAYS_GHOST.search(name))


def _is_known_fact(key: str, value: Any, read: set[str]) -> bool:
    if value is None or (isinstance(value, str | Mapping | list | tuple) and not value):
        return True  # it says nothing
    if CHARGE_KEY.fullmatch(key.lower()) or SPIN_KEY.fullmatch(key.lower()):
        return True
    if is_unit(key):  # a bare word says no unit
        return of_another_quantity(key) or states_own_unit(value) or (value is True and key in read)
    if key == "head" and str(value).lower() == "default":  # of MACE, which writes it into each file
        return True
    if NOTHING_IF_ZERO.fullmatch(key) and np.ndim(value) == 0 and value == 0:
        return True
    return _is_known(key, HARMLESS_FACT, HARMLESS_RESULT, read=read)


def _is_known(name: str, *harmless: re.Pattern[str], read: set[str]) -> bool:
    return (
        name in read
        or bool(LOOKS_LIKE_A_LABEL.search(name))  # which the labels name
        or name.lower() in WEIGHT_KEYS
        or any(pattern.fullmatch(name) for pattern in (NAMED_ELSEWHERE, *harmless))
    )


def _with_value(key: str, value: Any) -> str:
    """Return a key, with its value where it names a method or unit, so that frames of two methods give two remarks."""
    if (METHOD.fullmatch(key) or is_unit(key)) and np.ndim(value) == 0:
        return f"{key}={str(value).replace(',', ' ')[:LONGEST_VALUE]}"
    return key
