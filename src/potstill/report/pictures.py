"""Choice of the structures on a page: a few examples of each source, and those that a check names.

The input is a dataset, the output pictures with captions for a template.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from potstill.core.types import Structure
from potstill.dataset import Dataset
from potstill.report.structure import draw_structure

LARGEST_DRAWN = 400
QUANTILES = {1: (0.5,), 2: (0.5, 0.9), 3: (0.2, 0.5, 0.9)}


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a structure with its caption."""

    svg: Markup
    id: str
    formula: str
    note: str = ""


def picture(structure: Structure, note: str = "") -> Picture:
    """Draw one structure."""
    return Picture(draw_structure(structure), structure.id, structure.formula, note)


def examples(dataset: Dataset, each: int = 2) -> list[Picture]:
    """Draw one to three structures of each source, at quantiles of its sizes."""
    sizes = np.diff(dataset.ptr)
    found = []
    for source in sorted(set(dataset.sources)):
        rows = np.flatnonzero(np.array(dataset.sources == source) & (sizes <= LARGEST_DRAWN))
        rows = rows[np.argsort(sizes[rows], kind="stable")]
        taken = [rows[round(q * (len(rows) - 1))] for q in QUANTILES[each]] if len(rows) else []
        for row in dict.fromkeys(int(k) for k in taken):
            structure = dataset[row]
            found.append(picture(structure, f"{source}, {len(structure)} atom{'s' * (len(structure) > 1)}"))
    return found


def pointed_at(dataset: Dataset, ids: Iterable[str], notes: dict[str, str], shown: set[str]) -> list[Picture]:
    """Draw the structures with these ids that were not shown before; ids that the file lacks are left out."""
    where = {name: k for k, name in enumerate(dataset.ids)}
    found = []
    for name in ids:
        if name not in where or name in shown:
            continue
        structure = dataset[where[name]]
        if len(structure) <= LARGEST_DRAWN:
            shown.add(name)
            found.append(picture(structure, notes.get(name, "")))
    return found


def without(pictures: Sequence[Picture], shown: set[str]) -> list[Picture]:
    """Return the pictures of structures that were not shown before."""
    return [p for p in pictures if p.id not in shown]
