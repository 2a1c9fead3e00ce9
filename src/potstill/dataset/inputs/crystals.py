"""Crystals in the formats that pymatgen reads and ASE does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from potstill.dataset.inputs.unusable import UnusableError, ending_of, text_of

READ = ("lattice", "sites", "charge", "properties")  # keys of a Structure of pymatgen as JSON
ENDINGS = (".cssr", ".json")  # of formats that name elements; its reader of POSCAR makes them up


def by_pymatgen(path: Path) -> Any:
    """Return ASE ``Atoms``; None where pymatgen is not installed or does not read the file.

    Raises
    ------
    UnusableError
        If sites are occupied in part.
    """
    if ending_of(path) not in ENDINGS:
        return None
    try:
        from pymatgen.core import Structure as Crystal

        data: Any = {}
        if ending_of(path) == ".json":
            data = json.loads(text_of(path))
            crystal = Crystal.from_dict(data) if _only_pymatgen(data) else None
        else:
            crystal = Crystal.from_file(str(path))
    except Exception:  # noqa: BLE001 - the user is told of the fault that ASE found
        return None
    if crystal is None:
        return None
    if not crystal.is_ordered:
        raise UnusableError("disordered", "sites are occupied in part")
    atoms = crystal.to_ase_atoms()
    beside = {key: value for key, value in data.items() if key not in READ and not key.startswith("@")}
    atoms.info = {**beside, **atoms.info, **crystal.properties}
    if crystal._charge:
        atoms.info["charge"] = crystal._charge
    return atoms


def _only_pymatgen(data: Any) -> bool:
    """Return whether JSON names no class but pymatgen's: its decoder imports any module that is named."""
    if isinstance(data, list):
        return all(map(_only_pymatgen, data))
    if not isinstance(data, dict):
        return True
    return str(data.get("@module", "pymatgen.")).startswith("pymatgen.") and all(map(_only_pymatgen, data.values()))
