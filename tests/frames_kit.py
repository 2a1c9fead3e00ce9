"""Labelled frames that are alike and of which none is near another."""

import numpy as np
from ase.build import bulk, molecule

from potstill.core.types import Structure
from potstill.teacher import load_teacher

COUNT = 30


def frames(kind: str) -> list[Structure]:
    """Return labelled frames of which none is near another."""
    rng = np.random.default_rng(3)
    made = []
    for k in range(COUNT):
        atoms = molecule("CH3CH2OH") if kind == "molecules" else bulk("Cu", cubic=True) * (2, 2, 1)
        if kind == "alloys":
            atoms.numbers[rng.random(len(atoms)) < 0.5] = 28
        if kind != "molecules":
            atoms.set_cell(atoms.cell * (1 if kind == "one cell" else rng.uniform(0.96, 1.06)), scale_atoms=True)
        atoms.positions += rng.normal(0, 0.12 if kind != "molecules" else 0.05, atoms.positions.shape)
        made.append(Structure.from_ase(atoms, id=f"s-{k}", source="s", family=f"f{k}"))
    return [s.with_(labels=a) for s, a in zip(made, load_teacher("emt").label(made), strict=True)]
