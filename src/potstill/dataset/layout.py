"""Comparison of a file with schema 1: shapes, types, units and JSON of what it holds, and the names of what is ignored.

Any program can write or edit the file. A column that means something else than schema 1 is refused by its name, and what
schema 1 does not know is named once. A charge or a spin is no label, so that ions and radicals are refused.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from potstill.core.counts import several
from potstill.core.errors import DatasetError
from potstill.core.types import MAX_ATOMIC_NUMBER, SHORTEST_VECTOR, SMALLEST_VOLUME, Array
from potstill.core.units import UNITS
from potstill.dataset.blocks import GROUP
from potstill.dataset.schema import (
    ARRAY_COLUMNS,
    ATTRIBUTES,
    EXTRA,
    EXTRA_UNITS,
    JSON_ATTRIBUTES,
    NUMBERS,
    PARTS,
    REFUSED_COLUMNS,
    TEXT_COLUMNS,
    Column,
    checksum,
    extra_column,
)

log = logging.getLogger(__name__)
KINDS = {"uint8": "ui", "float32": "f", "float64": "f", "bool": "b", "text": "OS"}  # numpy's letters of like types
GROUPS = ("atoms", "structures", "splits", "refused", EXTRA)
KNOWN = {
    *(f"{EXTRA}/{name}" for name in EXTRA_UNITS),
    "structures/ptr",
    "splits/part",
    *(c.path for c in (*ARRAY_COLUMNS, *TEXT_COLUMNS, *REFUSED_COLUMNS)),
}
UNIT_NAMES = ("unit", "units")
OUR_UNITS = {*UNITS.values(), *EXTRA_UNITS.values()}
OF_HDF5 = {"CLASS", "NAME", "TITLE", "VERSION", "FLAVOR", "PYTABLES_FORMAT_VERSION", "DIMENSION_LIST", "REFERENCE_LIST"}
NAMED = 8  # at most, in one remark
_told: set[tuple[str, ...]] = set()


def refuse_other_layout(path: Path, file: h5py.File) -> None:
    """Refuse a file whose columns or attributes are not those of schema 1.

    Parameters
    ----------
    path
        Path of the file, for messages.
    file
        The open file.

    Raises
    ------
    DatasetError
        If a column is missing, of another shape, type or unit, an attribute is no JSON or no number, or the file states a
        charge or a spin, or something that has a checksum was removed, or the split was changed.
    """
    nodes = _nodes(file)
    missing = [name for name in _required(nodes) if not isinstance(nodes.get(name), h5py.Dataset)]
    if missing:
        raise DatasetError(f"{path} lacks {', '.join(missing)}")
    fault = _fault_of_ptr(nodes) or _fault_of_columns(nodes) or _fault_of_split(nodes) or _fault_of_attributes(file)
    if fault:
        raise DatasetError(f"{path}: {fault}\n  the page 'dataset' of the documentation lists what each column is")
    _refuse_changes(path, file, nodes)
    ignored = _ignored(file, nodes)
    if ignored and multiprocessing.parent_process() is None:
        _refuse_charge(path, file, ignored)
        _tell_once(path, ignored)


def impossible(numbers: Array, ptr: Array, cell: Array, pbc: Array) -> tuple[int, str] | None:
    """Return the first structure with an unknown element or a periodic cell without volume, and what it has.

    Parameters
    ----------
    numbers
        (n,) atomic numbers.
    ptr
        (s + 1,) offsets of each structure's atoms.
    cell
        (s, 3, 3) Å, rows are lattice vectors.
    pbc
        (s, 3) bool.
    """
    unknown = np.flatnonzero((numbers < 1) | (numbers > MAX_ATOMIC_NUMBER))
    if len(unknown):
        where = int(np.searchsorted(ptr, unknown[0], side="right")) - 1
        return where, f"has the atomic number {numbers[unknown[0]]}, expected 1 to {MAX_ATOMIC_NUMBER}"
    short = (pbc & (np.linalg.norm(cell, axis=2) < SHORTEST_VECTOR)).any(axis=1)
    flat = pbc.all(axis=1) & (np.abs(np.linalg.det(cell)) < SMALLEST_VOLUME)
    if (short | flat).any():
        return int(np.flatnonzero(short | flat)[0]), "is periodic along lattice vectors that have no length or no volume"
    return None


def _nodes(file: h5py.File) -> dict[str, Any]:
    """Return what stands in the groups of schema 1, and every other group or column of the root, by its path."""
    nodes: dict[str, Any] = {}
    for name, node in file.items():
        if name in GROUPS and isinstance(node, h5py.Group):
            nodes |= {f"{name}/{key}": child for key, child in node.items()}
        elif name != GROUP:
            nodes[name] = node
    return nodes


def _required(nodes: Mapping[str, Any]) -> list[str]:
    """Return the paths that a file must have: labels and refusals are either complete or absent."""
    labelled = any(column.path in nodes for column in ARRAY_COLUMNS if column.label)
    names = ["structures/ptr", *(c.path for c in ARRAY_COLUMNS if labelled or not c.label), *(c.path for c in TEXT_COLUMNS)]
    return names + ([c.path for c in REFUSED_COLUMNS] if any(name.startswith("refused/") for name in nodes) else [])


def _fault_of_ptr(nodes: Mapping[str, Any]) -> str:
    ptr = nodes["structures/ptr"]
    if ptr.ndim != 1 or len(ptr) < 1 or ptr.dtype.kind not in "ui":
        return f"structures/ptr is {_described(ptr)}, expected integers of shape (S + 1,)"
    return ""


def _fault_of_columns(nodes: Mapping[str, Any]) -> str:
    """Return the first column of another shape, type or unit, in words; empty where there is none."""
    rows = {
        "structures": len(nodes["structures/ptr"]) - 1,
        "atoms": len(nodes["atoms/atomic_numbers"]),
        "refused": len(nodes.get("refused/id", ())),
    }
    rows[EXTRA] = rows["atoms"]
    extra = [extra_column(path.removeprefix(f"{EXTRA}/"), ()) for path in nodes if path.startswith(f"{EXTRA}/")]
    for column in (*ARRAY_COLUMNS, *TEXT_COLUMNS, *REFUSED_COLUMNS, *extra):
        found = nodes.get(column.path)
        if found is None:
            continue
        if not isinstance(found, h5py.Dataset):
            return f"{column.path} is a group, expected {column.dtype}"
        shape = (rows[column.path.partition("/")[0]], *(found.shape[1:] if column in extra else column.shape))
        if found.shape != shape:
            return f"{column.path} has shape {found.shape}, expected {shape}"
        if found.dtype.kind not in KINDS[column.dtype]:
            return f"{column.path} is {_described(found)}, expected {column.dtype}"
        if unit := _foreign_unit(found):
            return f"{column.path} states the unit {unit!r}, expected {_unit(column)}: convert its numbers and the attribute"
    return ""


def _foreign_unit(found: h5py.Dataset) -> str:
    stated = [_text(found.attrs[name]) for name in found.attrs if name.lower() in UNIT_NAMES]
    if not set(stated) - OUR_UNITS:
        return ""  # and the readers of other formats are not imported
    from potstill.dataset.inputs.units import FOREIGN

    return next((unit for unit in stated if FOREIGN.search(unit)), "")


def _unit(column: Column) -> str:
    return UNITS.get(column.path.rsplit("/", 1)[1], "eV and Å")


def _fault_of_split(nodes: Mapping[str, Any]) -> str:
    found, structures = nodes.get("splits/part"), len(nodes["structures/ptr"]) - 1
    if found is None:
        return ""
    if not isinstance(found, h5py.Dataset) or found.shape != (structures,) or found.dtype.kind not in "ui":
        return f"splits/part is {_described(found)}, expected uint8 of shape ({structures},)"
    parts = found[:]
    if wrong := int(((parts < 0) | (parts >= len(PARTS))).sum()):
        return f"splits/part puts {several(wrong, 'structure')} into no part; expected 0 train, 1 valid, 2 test"
    return ""


def _fault_of_attributes(file: h5py.File) -> str:
    for name in sorted(JSON_ATTRIBUTES & set(file.attrs)):
        value = _text(file.attrs[name])
        try:
            right = not value or isinstance(json.loads(value), dict)
        except ValueError:
            right = False
        if not right:
            return f"its attribute '{name}' is {value[:60]!r}, expected a JSON object such as {{\"name\": …}}"
    for name in sorted(NUMBERS & set(file.attrs)):
        value = file.attrs[name]
        if not isinstance(value, int | float | np.number) or not np.isfinite(value):
            return f"its attribute '{name}' is {value!r}, expected a number"
    return ""


def _refuse_changes(path: Path, file: h5py.File, nodes: Mapping[str, Any]) -> None:
    """Refuse a file without something that has a checksum, or with another split; blocks of rows are compared when read."""
    stated = json.loads(_text(file.attrs.get("checksums", "")) or "{}")
    fault = next((f"{name} is missing" for name in sorted(stated) if name not in nodes and name not in file), "")
    split = nodes.get("splits/part")
    if not fault and split is not None and checksum(split) != stated.get("splits/part", checksum(split)):
        fault = "splits/part differs from its checksum"
    if fault:
        raise DatasetError(
            f"{path} is damaged or was edited: {fault}\n  see all with:  potstill verify {path}\n"
            f"  after an edit on purpose: delete its group blocks and its attribute checksums, then"
            f"  potstill dataset subset {path} NEW.h5"
        )


def _ignored(file: h5py.File, nodes: Mapping[str, Any]) -> list[str]:
    """Return the names of groups, columns and attributes that schema 1 does not know."""
    found = [f"attribute {name}" for name in file.attrs if name not in ATTRIBUTES | OF_HDF5]
    for path, node in nodes.items():
        if path not in KNOWN:
            found.append(path)
        else:
            found += [f"{path}.{key}" for key in node.attrs if key.lower() not in UNIT_NAMES and key not in OF_HDF5]
    return found


def _tell_once(path: Path, ignored: list[str]) -> None:
    """Log what is ignored, once in a process for the files of a folder that hold the same."""
    if (key := (str(path.resolve().parent), *ignored)) in _told:
        return
    _told.add(key)
    others = f" and {len(ignored) - NAMED} more" if len(ignored) > NAMED else ""
    log.warning("%s: ignored, for schema 1 does not know it: %s%s", path, ", ".join(ignored[:NAMED]), others)


def _refuse_charge(path: Path, file: h5py.File, ignored: list[str]) -> None:
    """Refuse a file with a column or an attribute by which a structure is an ion or a radical."""
    from potstill.dataset.inputs.charge import CHARGE_KEY, OF_ATOMS, SPIN_KEY, facts_on_charge, refuse_charge
    from potstill.dataset.inputs.unusable import UnusableError

    def about(name: str) -> bool:
        return bool(CHARGE_KEY.fullmatch(name) or SPIN_KEY.fullmatch(name) or name in OF_ATOMS)

    ptr = file["structures/ptr"][:]
    names = [name.rpartition(" ")[2] for name in ignored]
    whole = {name: _plain(file.attrs[name]) for name in names if name in file.attrs and about(name.lower())}
    columns = {name: file[name] for name in names if isinstance(file.get(name), h5py.Dataset) and about(_last(name))}
    of_each = {_last(name): node[:] for name, node in columns.items() if node.shape == (len(ptr) - 1,)}
    of_atoms = {_last(name): node[:] for name, node in columns.items() if node.shape == (int(ptr[-1]),)}
    if not (whole or of_each or of_atoms):
        return
    numbers, pbc, ids = file["atoms/atomic_numbers"][:], file["structures/pbc"][:], file["structures/id"].asstr()[:]
    for k, (start, stop) in enumerate(zip(ptr[:-1].tolist(), ptr[1:].tolist(), strict=True)):
        info = whole | {name: rows[k] for name, rows in of_each.items()}
        try:
            facts = facts_on_charge(info, {name: rows[start:stop] for name, rows in of_atoms.items()})
            refuse_charge(facts, numbers[start:stop], periodic=bool(pbc[k].any()))
        except UnusableError as error:
            said = ", ".join([*whole, *(name for name in columns)])
            why = str(error).partition(";")[0]
            raise DatasetError(
                f"{path}: structure {ids[k]} is {error.reason} by {said}: {why}\n"
                "  leave such structures out; or delete that column or attribute, to take them as they are"
            ) from None


def _last(name: str) -> str:
    return name.rpartition("/")[2].lower()


def _described(found: Any) -> str:
    return f"{found.dtype} of shape {found.shape}" if isinstance(found, h5py.Dataset) else "a group"


def _plain(value: Any) -> Any:
    return _text(value) if isinstance(value, bytes) else value


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
