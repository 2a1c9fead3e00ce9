"""What the speed benchmarks are run on: supercells of silicon and rock salt, aspirin, 32 crystals of about 20 atoms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal

RATTLE_ANGSTROM = 0.05
CUBIC_CELLS = {"Si": ("Si", "diamond", 5.43), "NaCl": ("NaCl", "rocksalt", 5.64)}  # 8 atoms each

# MMFF94 minimum of RDKit's conformer with seed 7, in Å
ASPIRIN = """
C  3.404  0.554 -0.041   C  2.044  0.139  0.435   O  1.689  0.144  1.607   O  1.288 -0.266 -0.659
C -0.028 -0.585 -0.315   C -0.328 -1.942 -0.163   C -1.629 -2.330  0.152   C -2.626 -1.367  0.303
C -2.327 -0.011  0.132   C -1.022  0.397 -0.187   C -0.703  1.833 -0.399   O  0.361  2.305 -0.755
O -1.756  2.637 -0.155   H  3.924 -0.305 -0.470   H  3.984  0.930  0.807   H  3.311  1.356 -0.777
H  0.449 -2.692 -0.281   H -1.866 -3.384  0.282   H -3.641 -1.670  0.551   H -3.124  0.719  0.247
H -1.404  3.538 -0.315
"""

# prototype -> repeats to about 20 atoms, and (formula, lattice parameters in Å)
PROTOTYPES = {
    "rocksalt": ((3, 1, 1), [("MgO", 4.21), ("NaCl", 5.64), ("LiF", 4.03), ("CaO", 4.81), ("KBr", 6.60), ("TiN", 4.24)]),
    "zincblende": ((2, 1, 1), [("GaAs", 5.65), ("ZnS", 5.41), ("SiC", 4.36), ("InP", 5.87), ("CdTe", 6.48)]),
    "fluorite": ((2, 1, 1), [("CaF2", 5.46), ("CeO2", 5.41), ("ZrO2", 5.09)]),
    "cesiumchloride": ((3, 3, 1), [("CsCl", 4.12), ("NiAl", 2.88), ("TlBr", 3.97)]),
    "fcc": ((5, 1, 1), [("Cu", 3.61), ("Au", 4.08)]),
    "bcc": ((3, 3, 1), [("Fe", 2.87), ("W", 3.16)]),
    "hcp": ((3, 3, 1), [("Mg", 3.21, 5.21), ("Ti", 2.95, 4.68)]),
    "wurtzite": ((5, 1, 1), [("ZnO", 3.25, 5.21), ("GaN", 3.19, 5.19)]),
    "diamond": ((2, 1, 1), [("Ge", 5.66)]),
    "perovskite": ((2, 2, 1), [("SrTiO3", 3.91), ("BaTiO3", 4.00), ("LaAlO3", 3.79), ("KNbO3", 4.02)]),
    "rutile": ((1, 1, 3), [("TiO2", 4.594, 2.959), ("SnO2", 4.737, 3.186)]),
}
HEXAGONAL = ("hcp", "wurtzite")


def supercell(kind: str, n_atoms: int) -> Atoms:
    """A cube of ``8 k^3`` atoms of ``"Si"`` or ``"NaCl"``, without rattle."""
    repeats = round((n_atoms / 8) ** (1 / 3))
    if 8 * repeats**3 != n_atoms:
        raise ValueError(f"{n_atoms} atoms are no cube of {kind}: 8 times a cube is needed, such as {8 * repeats**3}")
    formula, prototype, a = CUBIC_CELLS[kind]
    return bulk(formula, prototype, a=a, cubic=True).repeat(repeats)


def aspirin() -> Atoms:
    """Aspirin, 21 atoms, no cell."""
    words = np.array(ASPIRIN.split()).reshape(-1, 4)
    return Atoms(words[:, 0].tolist(), positions=words[:, 1:].astype(float))


def crystals() -> list[Atoms]:
    """32 crystals of 16 to 24 atoms in 11 prototypes and 37 elements."""
    return [
        _prototype(name, *compound).repeat(repeats)
        for name, (repeats, compounds) in PROTOTYPES.items()
        for compound in compounds
    ]


def rattled(structures: Sequence[Atoms], seed: int) -> list[Atoms]:
    """Copies with Gaussian displacements of 0.05 Å: another geometry per seed, so that no answer can come from a cache."""
    rng = np.random.default_rng(seed)
    copies = [atoms.copy() for atoms in structures]
    for atoms in copies:
        atoms.positions += rng.normal(0.0, RATTLE_ANGSTROM, atoms.positions.shape)
    return copies


def all_systems() -> dict[str, list[Atoms]]:
    """Name -> the structures that are given to a model in one call."""
    systems = {f"Si{n}": [supercell("Si", n)] for n in (8, 64, 216, 512, 4096)}
    systems |= {f"NaCl{n}": [supercell("NaCl", n)] for n in (64, 216)}
    return systems | {"aspirin": [aspirin()], "32 crystals": crystals()}


def _prototype(name: str, formula: str, a: float, c: float | None = None) -> Atoms:
    """Cell of a compound, cubic where the prototype is."""
    elements = list(dict.fromkeys(Atoms(formula).symbols))
    if name == "perovskite":
        sites = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)]
        return crystal(elements, sites, spacegroup=221, cellpar=[a, a, a, 90, 90, 90])
    if name == "rutile":
        sites = [(0, 0, 0), (0.305, 0.305, 0)]
        return crystal(elements, sites, spacegroup=136, cellpar=[a, a, c, 90, 90, 90])
    if name in HEXAGONAL:
        return bulk(formula, name, a=a, c=c)
    return bulk(formula, name, a=a, cubic=True)
