"""Extended XYZ, with labels under ``REF_energy``, ``REF_forces`` and ``REF_stress``.

ASE's extended XYZ drops or garbles some text (an empty value, or one that ends in ``=`` or a backslash, swallows the next
key; backslashes vanish; the family ``F`` is read as false), so names and metadata are written as hexadecimal JSON beside
what a person reads.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from potstill.core.errors import InputError
from potstill.core.types import Structure
from potstill.dataset.formats.atoms import names_of, record_of, structure_of
from potstill.dataset.formats.format import Format, Precision, reading

ROUNDING = 1e-8  # ASE writes positions and forces with eight decimals


def read(path: Path) -> Iterator[Structure]:
    """Structures of a file, labelled by its REF_ keys or by its plain ``energy``, ``forces`` and ``stress``."""
    from ase.io.extxyz import read_xyz

    with reading(path), path.open(encoding="utf-8") as file:
        whole = _ends_with_a_line(path)
        for k, atoms in enumerate(read_xyz(file, index=slice(None))):
            text = atoms.info.get("record_hex")
            if text is not None and not whole:
                raise InputError(f"{path} was cut short: its last line has no end")
            record = None if text is None else bytes.fromhex(str(text)[1:]).decode()
            yield structure_of(atoms, path, k, atoms.info, record)


def write(structures: Iterable[Structure], path: Path) -> None:
    """One frame for each structure."""
    from ase.io.extxyz import write_xyz

    with path.open("w", encoding="utf-8") as file:
        write_xyz(file, map(_frame, structures))


FORMAT = Format((".extxyz", ".xyz"), read, write, Precision(absolute=ROUNDING))


def _frame(structure: Structure) -> Any:
    atoms = structure.to_ase()
    atoms.info.update({key: text for key, text in names_of(structure).items() if _harmless(text)})
    atoms.info["record_hex"] = "h" + record_of(structure).encode().hex()
    if structure.labels is not None:
        atoms.info["REF_energy"] = structure.labels.energy
        atoms.arrays["REF_forces"] = structure.labels.forces
        if structure.labels.stress is not None:
            atoms.info["REF_stress"] = structure.labels.stress
    return atoms


def _harmless(text: str) -> bool:
    """Whether ASE's parser finds the end of a value; what stands before it may be garbled, the record has it right."""
    return text.isprintable() and not text.endswith(("=", "\\"))


def _ends_with_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 1), os.SEEK_SET)
        return file.read() in (b"", b"\n")
