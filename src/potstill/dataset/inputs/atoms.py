"""The one place where foreign atoms become a frame: geometry, charge, labels, constraints."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from potstill.core.elements import symbols_of
from potstill.core.errors import StructureError
from potstill.core.types import MAX_ATOMIC_NUMBER, SMALLEST_VOLUME, Labels, Structure, refuse_far
from potstill.dataset.inputs.charge import facts_on_charge, refuse_charge
from potstill.dataset.inputs.fractional import refuse_mixed_places
from potstill.dataset.inputs.known import SAYS_FIXED, SAYS_GHOST, ignored_of_atoms, is_flag
from potstill.dataset.inputs.labels import labels_not_used, labels_of_frame, origin_of_labels
from potstill.dataset.inputs.options import ReadOptions
from potstill.dataset.inputs.units import refuse_units
from potstill.dataset.inputs.unusable import Frame, UnusableError

ISOLATED = ("isolatedatom", "isolated_atom")
SAYS_CONVERGED = re.compile(r"(\w+_)?(is_)?converged", re.IGNORECASE)
SAYS_FIELD = re.compile(r"(external_|electric_|e_?)field", re.IGNORECASE)
ONE_ELECTRON = 0.5  # and more, in Bohr magnetons
NO = ("false", "f", "0", "no")


def frame_from(
    atoms: Any,
    options: ReadOptions,
    *,
    ours: bool = False,
    names: Mapping[str, Any] = MappingProxyType({}),
    words: Collection[str] = (),
) -> Frame:
    """Return the frame of an ASE ``Atoms`` that a file gave.

    Parameters
    ----------
    atoms
        Atoms of a frame; ``info`` contains the file's facts about it.
    options
        Options for reading the file.
    ours
        Whether potstill wrote the file.
    names
        Names and metadata of the structure.
    words
        Facts that are bare words of a comment.

    Raises
    ------
    UnusableError
        If the atoms are no usable structure; each kind of fault has its own reason.
    """
    remarks = refuse_units(atoms.info)
    fields = dict(names)
    if _is_isolated_atom(atoms) and not np.array(atoms.cell).any():
        atoms = atoms.copy() if atoms.calc is None else _copy_with_results(atoms)
        atoms.pbc = False
    refuse_geometry(atoms)
    if not ours:
        refuse_mixed_places(atoms)
    results = {} if atoms.calc is None else atoms.calc.results
    parameters = getattr(atoms.calc, "parameters", None) or {}
    facts = facts_on_charge(atoms.info, {**results, **atoms.arrays}, parameters)
    if options.ignore_charge:
        stated = {f"stated_{name}": value for name, value in facts.items() if value}
        if stated:
            fields["generator_metadata"] = {**fields.get("generator_metadata", {}), **stated}
            remarks.append("a stated charge or spin is ignored; generator_metadata holds it")
    else:
        refuse_charge(facts, atoms.numbers, periodic=bool(np.any(atoms.pbc)))
    labels = None
    if options.labels:
        labels, said = labels_of_frame(atoms, options)
        remarks += said
    else:
        remarks += labels_not_used(atoms, options)
    remarks += _on_constraints(atoms, labels)
    if np.any(atoms.arrays.get("initial_magmoms", 0.0)):
        remarks.append("magnetic moments are not kept: a teacher that labels these structures starts without them")
    if (
        not options.ignore_charge
        and not np.any(atoms.pbc)
        and abs(total := _total_moment({**atoms.info, **results})) >= ONE_ELECTRON
    ):
        remarks.append(f"the frame states a magnetic moment of {total:g}, and a structure has no unpaired electrons")
    remarks += _on_state(atoms.info) if labels is not None else []
    remarks += [] if ours else ignored_of_atoms(atoms, {*options.keys, *words})
    if _is_isolated_atom(atoms) and labels is not None:
        remarks.append(
            f"an isolated {symbols_of(atoms.numbers)[0]} atom with an energy of {labels.energy:.6f} eV: a reference energy, "
            f"taken as a structure {'with' if atoms.pbc.any() else 'without'} a cell like any other"
        )
    origin = "" if ours or labels is None else origin_of_labels(atoms, options)
    return Frame(Structure.from_ase(atoms, labels=labels, **fields), tuple(remarks), ours, origin)


def refuse_geometry(atoms: Any) -> None:
    """Refuse atoms that are no structure.

    Raises
    ------
    UnusableError
        If there is a fault; each kind has its own reason.
    """
    numbers, cell, pbc = np.asarray(atoms.numbers), np.array(atoms.cell), np.asarray(atoms.pbc, bool)
    if len(numbers) == 0:
        raise UnusableError("no_atoms", "there are no atoms")
    if numbers.min() < 1 or numbers.max() > MAX_ATOMIC_NUMBER:
        foreign = sorted({int(z) for z in numbers if not 1 <= z <= MAX_ATOMIC_NUMBER})
        raise UnusableError("unknown_element", f"atomic numbers {foreign} are no elements")
    if not (np.isfinite(atoms.positions).all() and np.isfinite(cell).all()):
        raise UnusableError("not_finite", "positions or cell contain a number that is not finite")
    if pbc.any() and not cell[pbc].any(axis=1).all():
        alone = " (an isolated atom has pbc F F F, or config_type=IsolatedAtom)" if len(numbers) == 1 else ""
        raise UnusableError("no_cell", f"pbc is {pbc.tolist()} and a lattice vector is missing{alone}")
    if pbc.all() and abs(np.linalg.det(cell)) < SMALLEST_VOLUME:
        raise UnusableError("no_volume", "the cell has no volume")
    try:
        refuse_far(np.asarray(atoms.positions), cell[pbc])
    except StructureError as error:
        raise UnusableError("too_far", str(error)) from error
    if _occupied_in_part(atoms.arrays.get("occupancy")) or _occupied_in_part(atoms.info.get("occupancy")):
        raise UnusableError("disordered", "sites are occupied in part")
    for name, column in atoms.arrays.items():
        if SAYS_GHOST.search(name) and is_flag(column) and column.any():
            raise UnusableError("unknown_element", f"the column '{name}' marks atoms that are none")


def _occupied_in_part(stated: Any) -> bool:
    """Return whether occupancies are below 1: of a column, or of the kinds of sites that ASE notes for a CIF."""
    if isinstance(stated, Mapping):
        sites = [site if isinstance(site, Mapping) else {"": site} for site in stated.values()]
        return any(len(site) > 1 or min(map(float, site.values()), default=1.0) < 1 for site in sites)
    return stated is not None and bool((np.asarray(stated, dtype=float) < 1).any())


def _is_isolated_atom(atoms: Any) -> bool:
    return len(atoms) == 1 and str(atoms.info.get("config_type", "")).lower() in ISOLATED


def _copy_with_results(atoms: Any) -> Any:
    from ase.calculators.singlepoint import SinglePointCalculator

    copy = atoms.copy()
    copy.calc = SinglePointCalculator(copy, **atoms.calc.results)
    return copy


def _on_constraints(atoms: Any, labels: Labels | None) -> list[str]:
    """Return a remark about constraints, which a structure does not have."""
    kinds = {type(constraint).__name__ for constraint in atoms.constraints}
    fixed = np.zeros((len(atoms), 3), dtype=bool)
    for constraint in atoms.constraints:
        fixed[np.ravel(_indices(constraint)).astype(int)] |= _axes(constraint)
    for name, column in atoms.arrays.items():
        if SAYS_FIXED.search(name) and is_flag(column) and column.any():
            kinds.add(f"column '{name}'")
            fixed[column.astype(bool)] = True
    if not kinds:
        return []
    if labels is not None and fixed.any() and labels.forces.any() and not labels.forces[fixed].any():
        what = "fixed atoms" if fixed.all(axis=1).sum() == fixed.any(axis=1).sum() else "atoms, along their fixed axes,"
        raise UnusableError(
            "constrained_forces",
            f"the forces on all {fixed.any(axis=1).sum()} {what} are exactly zero, so these are forces after constraints; "
            "write it again with the forces of the model (ASE: get_forces(apply_constraint=False))",
        )
    return [f"constraints ({', '.join(sorted(kinds))}) are not kept"]


def _indices(constraint: Any) -> Any:
    return getattr(constraint, "index", getattr(constraint, "a", []))


def _axes(constraint: Any) -> Any:
    """Return (3,) bool, the Cartesian axes along which a constraint fixes its atoms."""
    return np.asarray(constraint.mask, bool) if type(constraint).__name__ == "FixCartesian" else True


def _total_moment(facts: Mapping[str, Any]) -> float:
    """Return the total magnetic moment that a frame states; zero where it states none."""
    moment = np.asarray(facts.get("magmom", 0.0))
    return float(moment) if moment.dtype.kind in "fiu" and moment.size == 1 else 0.0


def _on_state(info: Mapping[str, Any]) -> list[str]:
    """Return remarks about labels of a calculation that did not converge, or that ran in an external field."""
    remarks = [
        f"the frame states {key}={value}: leave it out, or compute it again"
        for key, value in info.items()
        if SAYS_CONVERGED.fullmatch(str(key)) and str(value).lower() in NO
    ]
    fields = [key for key, value in info.items() if SAYS_FIELD.fullmatch(str(key)) and _is_nonzero(value)]
    return remarks + [f"the frame states '{key}': a student has no external field" for key in fields]


def _is_nonzero(value: Any) -> bool:
    array = np.asarray(value)
    return array.dtype.kind in "fiu" and bool(array.any())


def stated_names(info: Mapping[str, Any]) -> dict[str, str]:
    """Return id, source and family where a foreign file states them."""
    keys = {"id": "structure_id", "source": "source", "family": "family"}
    return {name: str(info[key]) for name, key in keys.items() if key in info}
