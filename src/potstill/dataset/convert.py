"""Between dataset files and extended XYZ, with labels under REF_ keys.

ASE's extended XYZ drops or garbles some text (an empty value swallows the next key, backslashes vanish, the family ``F``
is read as false), so names and the generator's metadata are written as hexadecimal JSON beside what a person reads, and
every file is read back and compared before it is sealed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from potstill.dataset.read import open_dataset
from potstill.dataset.write import merge, sealed, write_part
from potstill.errors import DatasetError, InputError
from potstill.types import Labels, Structure

HDF5_ENDINGS = (".h5", ".hdf5")
XYZ_ENDINGS = (".extxyz", ".xyz")
LARGEST_POSITION_ERROR = 1e-6  # Å; extended XYZ is written with eight decimals


def convert(source: Path, target: Path) -> int:
    """Write the structures of one file in the format of another's ending.

    Returns
    -------
    int
        Number of structures.

    Raises
    ------
    InputError
        If an ending is unknown, or the target exists.
    DatasetError
        If what was written does not read back as what was meant.
    """
    if target.exists():
        raise InputError(f"{target} exists already; give another name or remove it")
    structures = read_structures(source)
    if target.suffix in HDF5_ENDINGS:
        _write_hdf5(structures, target)
    elif target.suffix in XYZ_ENDINGS:
        _write_extxyz(structures, target)
    else:
        raise InputError(f"cannot write '{target.suffix}'; the endings are {', '.join(HDF5_ENDINGS + XYZ_ENDINGS)}")
    return len(structures)


def read_structures(path: Path) -> list[Structure]:
    """Structures of a file, with labels where it has them: our HDF5, or anything that ASE reads.

    Labels are taken from ``REF_energy``, ``REF_forces`` and ``REF_stress``, else from the file's own calculator results.
    """
    if not path.exists():
        raise InputError(f"no file at {path}")
    if path.suffix in HDF5_ENDINGS:
        return list(open_dataset(path))
    import ase.io

    try:
        frames = ase.io.read(path, index=":")
    except Exception as error:
        raise InputError(f"ASE cannot read {path}: {type(error).__name__}: {error}") from error
    return [_from_ase(atoms, path, k) for k, atoms in enumerate(frames)]


def _from_ase(atoms: Any, path: Path, k: int) -> Structure:
    info = atoms.info
    names = {
        "id": str(info.get("structure_id", f"{path.stem}-{k:06d}")),
        "source": str(info.get("source", path.stem)),
        "family": str(info.get("family", "")),
        "generator_metadata": {"file": path.name},
    }
    if "record_hex" in info:
        names = json.loads(bytes.fromhex(str(info["record_hex"])[1:]))
    structure = Structure.from_ase(atoms, labels=_labels(atoms), **names)
    return structure if "record_hex" in info or structure.family else structure.with_(family=structure.formula)


def _labels(atoms: Any) -> Labels | None:
    results = getattr(atoms.calc, "results", {}) if atoms.calc is not None else {}
    energy = atoms.info.get("REF_energy", results.get("energy"))
    forces = atoms.arrays.get("REF_forces", results.get("forces"))
    if energy is None or forces is None:
        return None
    stress = atoms.info.get("REF_stress")
    if stress is None and "stress" in results:
        stress = atoms.get_stress(voigt=False)
    return Labels(float(energy), np.array(forces), None if stress is None else np.array(stress).reshape(3, 3))


def _write_extxyz(structures: list[Structure], target: Path) -> None:
    from ase.io import write

    with sealed(target) as temporary:
        write(temporary, [_to_ase(s) for s in structures], format="extxyz")
        _compare(structures, _read_back(temporary))


def _read_back(path: Path) -> Iterator[Structure]:
    from ase.io import iread

    return (_from_ase(atoms, path, k) for k, atoms in enumerate(iread(path, index=":", format="extxyz")))


def _to_ase(structure: Structure) -> Any:
    atoms = structure.to_ase()
    names: dict[str, Any] = {"id": structure.id, "source": structure.source, "family": structure.family}
    atoms.info.update({"structure_id" if key == "id" else key: text for key, text in names.items() if text})
    names["generator_metadata"] = dict(structure.generator_metadata)
    atoms.info["record_hex"] = "h" + json.dumps(names, sort_keys=True).encode().hex()
    if structure.labels is not None:
        atoms.info["REF_energy"] = structure.labels.energy
        atoms.arrays["REF_forces"] = structure.labels.forces
        if structure.labels.stress is not None:
            atoms.info["REF_stress"] = structure.labels.stress
    return atoms


def _compare(meant: list[Structure], found: Iterator[Structure]) -> None:
    for a, b in zip(meant, found, strict=True):
        same = (a.id, a.source, a.family, dict(a.generator_metadata)) == (
            b.id,
            b.source,
            b.family,
            dict(b.generator_metadata),
        )
        near = np.abs(a.positions - b.positions).max() <= LARGEST_POSITION_ERROR
        if not same or not near or (a.labels is None) != (b.labels is None):
            raise DatasetError(f"structure {a.id} does not survive the extended XYZ format")


def _write_hdf5(structures: list[Structure], target: Path) -> None:
    labelled = bool(structures) and all(s.labels is not None for s in structures)
    part = target.with_name(f".{target.name}.part.h5")
    try:
        write_part(part, structures, labelled=labelled)
        merge([part], target, attributes={})
    finally:
        part.unlink(missing_ok=True)
