"""Between structures and ASE's ``Atoms``: where labels are looked for, and how names come back as they were."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from potstill.core.stress import from_voigt
from potstill.core.types import Array, Labels, Structure
from potstill.dataset.formats.format import reading


def record_of(structure: Structure) -> str:
    """JSON of a structure's names and metadata, in ASCII, for formats that would take a text for something else."""
    names = {
        "id": structure.id,
        "source": structure.source,
        "family": structure.family,
        "generator_metadata": dict(structure.generator_metadata),
    }
    return json.dumps(names, sort_keys=True)


def names_of(structure: Structure) -> dict[str, str]:
    """Names as a person looks for them in a foreign file; empty ones are left out."""
    names = {"structure_id": structure.id, "source": structure.source, "family": structure.family}
    return {key: text for key, text in names.items() if text}


def structure_of(atoms: Any, path: Path, k: int, info: Mapping[str, Any], record: str | None) -> Structure:
    """Structure from frame ``k`` of a file.

    Names and metadata are those of the record where there is one, else of ``info``, else made from the file's name. Labels
    are ``REF_energy``, ``REF_forces`` and ``REF_stress``, else the results of the frame's calculator.
    """
    labels = _labels(atoms, info)
    if record is not None:
        return Structure.from_ase(atoms, labels=labels, **json.loads(record))
    structure = Structure.from_ase(
        atoms,
        id=str(info.get("structure_id", f"{path.stem}-{k:06d}")),
        source=str(info.get("source", path.stem)),
        family=str(info.get("family", "")),
        generator_metadata={"file": path.name},
        labels=labels,
    )
    return structure if structure.family else structure.with_(family=structure.formula)


def read_with_ase(path: Path) -> Iterator[Structure]:
    """Structures of any file that ASE reads, labelled by its calculator results."""
    from ase.io import iread

    with reading(path):
        for k, atoms in enumerate(iread(path, index=":")):
            yield structure_of(atoms, path, k, atoms.info, None)


def _labels(atoms: Any, info: Mapping[str, Any]) -> Labels | None:
    results = atoms.calc.results if atoms.calc is not None else {}
    energy = info.get("REF_energy", results.get("energy"))
    forces = atoms.arrays.get("REF_forces", results.get("forces"))
    stress = info.get("REF_stress", results.get("stress"))
    if energy is None or forces is None:
        return None
    return Labels(float(energy), np.array(forces), None if stress is None else _full(np.asarray(stress)))


def _full(stress: Array) -> Array:
    return np.array(from_voigt(stress) if stress.shape == (6,) else stress.reshape(3, 3))
