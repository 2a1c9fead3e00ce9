"""Extended XYZ, with labels under ``REF_energy``, ``REF_forces`` and ``REF_stress``.

ASE's extended XYZ drops or garbles some text (an empty value, or one that ends in ``=`` or a backslash, swallows the next
key; backslashes vanish; the family ``F`` is read as false), so names and metadata are written as hexadecimal JSON beside
what a person reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from potstill.core.types import Structure
from potstill.dataset.formats.atoms import names_of, record_of
from potstill.dataset.formats.format import Format, Precision, read_frames, reading
from potstill.dataset.inputs.frames import XYZ, TextFrames
from potstill.dataset.inputs.options import DEFAULT, ReadOptions
from potstill.dataset.inputs.unusable import Frame

ROUNDING = 1e-8  # ASE writes positions and forces with eight decimals


def read(path: Path, options: ReadOptions = DEFAULT) -> Iterator[Frame]:
    """Yield the frames of a file."""
    if path.stat().st_size == 0:
        return
    with reading(path):
        frames = TextFrames(path, XYZ, options)
    yield from read_frames(path, frames)


def write(structures: Iterable[Structure], path: Path) -> None:
    """Write one frame for each structure."""
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
    """Return whether ASE's parser finds the end of a value; the record has the value itself."""
    return text.isprintable() and not text.endswith(("=", "\\"))
