"""The student ``general`` against its teacher on crystals and molecules.

    python -m benchmarks.teachers.general_physics [--student general] [--teacher 7net-0] [--systems "fcc Al" H2O …]
        [--dataset FILE]

Crystals: equation of state about the teacher's own minimum, and the mean phonon frequency of the primitive cell. Molecules:
vibrations and rigid turns about bonds. Figures are gaps to the teacher, by the code of ``potstill evaluate``. With the
dataset of the student, a row says whether its training part holds the composition. Results go to
``results/general_physics.json``, one row for each system, and medians over what was seen and what was not. Systems that are
not measured again stay, and what an earlier training had seen stays seen.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from math import gcd
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE
from ase.spacegroup import crystal
from benchmarks.lib.common import RESULTS, write_results
from rdkit import Chem
from rdkit.Chem.rdDistGeom import EmbedMolecule

from potstill.dataset import Dataset
from potstill.deploy.student import load_student
from potstill.evaluate import molecules, phonons, solids
from potstill.teacher.calculator import TeacherCalculator
from potstill.teacher.sevennet import SevenNet

SEEN = "composition_in_training_set"
CRYSTALS: dict[str, dict[str, Any]] = {
    **{
        f"fcc {s}": {"name": s, "crystalstructure": "fcc"}
        for s in ("Al", "Ni", "Cu", "Pd", "Ag", "Pt", "Au", "Pb", "Ca", "Ir")
    },
    **{
        f"bcc {s}": {"name": s, "crystalstructure": "bcc"} for s in ("Li", "Na", "K", "V", "Fe", "Nb", "Mo", "Ta", "W", "Ba")
    },
    **{f"diamond {s}": {"name": s, "crystalstructure": "diamond"} for s in ("C", "Si", "Ge")},
    **{
        f"rocksalt {s}": {"name": s, "crystalstructure": "rocksalt", "a": a}
        for s, a in (
            ("LiF", 4.03),
            ("NaCl", 5.64),
            ("KCl", 6.29),
            ("MgO", 4.21),
            ("CaO", 4.81),
            ("TiC", 4.33),
            ("TiN", 4.24),
        )
    },
    **{
        f"zincblende {s}": {"name": s, "crystalstructure": "zincblende", "a": a}
        for s, a in (
            ("GaAs", 5.65),
            ("SiC", 4.36),
            ("ZnS", 5.41),
            ("BN", 3.62),
            ("AlP", 5.46),
            ("InP", 5.87),
            ("CdTe", 6.48),
        )
    },
    **{f"B2 {s}": {"name": s, "crystalstructure": "cesiumchloride", "a": a} for s, a in (("CsCl", 4.12), ("NiAl", 2.89))},
    "fluorite CaF2": {"name": "CaF2", "crystalstructure": "fluorite", "a": 5.46},
}
UNSEEN: dict[str, dict[str, Any]] = {  # compositions that the training part of general's first 20,000 structures lacks
    **{f"hcp {s}": {"name": s, "crystalstructure": "hcp"} for s in ("Zr", "Co", "Os")},
    **{
        f"rocksalt {s}": {"name": s, "crystalstructure": "rocksalt", "a": a}
        for s, a in (
            ("LiCl", 5.13),
            ("RbF", 5.64),
            ("VN", 4.13),
            ("ZrN", 4.58),
            ("NbC", 4.47),
            ("TaC", 4.46),
            ("ScN", 4.5),
        )
    },
    **{
        f"zincblende {s}": {"name": s, "crystalstructure": "zincblende", "a": a}
        for s, a in (("AlSb", 6.14), ("CdSe", 6.05), ("AlN", 4.4))
    },
    **{
        f"wurtzite {s}": {"name": s, "crystalstructure": "wurtzite", "a": a, "c": 1.63 * a}
        for s, a in (("CdS", 4.14), ("InN", 3.53))
    },
    **{
        f"B2 {s}": {"name": s, "crystalstructure": "cesiumchloride", "a": a}
        for s, a in (
            ("CoAl", 2.86),
            ("AgMg", 3.31),
            ("CuPd", 3.0),
            ("BeCu", 2.7),
            ("YAg", 3.62),
            ("ScCu", 3.25),
            ("ZrRu", 3.25),
            ("LaMg", 3.97),
        )
    },
    **{
        f"fluorite {s}": {"name": s, "crystalstructure": "fluorite", "a": a}
        for s, a in (("SnMg2", 6.76), ("CoSi2", 5.36), ("CBe2", 4.33))
    },
    **{
        f"perovskite {a}{b}{x}3": {"perovskite": (a, b, x), "a": size}
        for a, b, x, size in (("K", "Mg", "F", 3.99), ("Ba", "Sn", "O", 4.12), ("Ba", "Hf", "O", 4.17))
    },
}
MOLECULES = (
    *("H2O", "NH3", "CH4", "C2H4", "C2H6", "CH3OH", "CH3CH2OH", "H2CO", "HCOOH", "H3CNH2"),
    *("C6H6", "C5H5N", "CH3SH", "CH3Cl", "SiH4", "PH3", "H2O2", "CH3CN", "isobutane", "trans-butane"),
)

UNSEEN_MOLECULES = {
    "urea": "NC(N)=O",
    "glycine": "NCC(=O)O",
    "alanine": "CC(N)C(=O)O",
    "cysteine": "NC(CS)C(=O)O",
    "thymine": "Cc1c[nH]c(=O)[nH]c1=O",
    "thiazole": "c1cscn1",
    "furfural": "O=Cc1ccco1",
    "toluene": "Cc1ccccc1",
    "anisole": "COc1ccccc1",
    "chlorobenzene": "Clc1ccccc1",
    "indole": "c1ccc2[nH]ccc2c1",
    "naphthalene": "c1ccc2ccccc2c1",
    "biphenyl": "c1ccc(cc1)-c1ccccc1",
    "coumarin": "O=c1ccc2ccccc2o1",
    "glycerol": "OCC(O)CO",
    "diglyme": "COCCOCCOC",
    "hexane": "CCCCCC",
    "pentanal": "CCCCC=O",
    "histamine": "NCCc1c[nH]cn1",
    "tetramethylsilane": "C[Si](C)(C)C",
}
ALL_CRYSTALS = {**CRYSTALS, **UNSEEN}
CHECKS = {
    "crystal": (solids.equation_of_state, phonons.phonons),
    "molecule": (molecules.vibrations, molecules.torsions),
}
STEPS = {"crystal": 200, "molecule": 300}  # of the relaxation by the teacher
ALL = (*ALL_CRYSTALS, *MOLECULES, *UNSEEN_MOLECULES)


def main() -> None:
    """Measure all systems and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--student", default="general")
    parser.add_argument("--teacher", default="7net-0")
    parser.add_argument("--systems", nargs="+", choices=ALL, default=ALL)
    parser.add_argument("--dataset", type=Path, help="dataset.h5 of the student; rows say what its training part holds")
    options = parser.parse_args()
    student = load_student(options.student, dtype="float64").calculator()
    teacher = TeacherCalculator(SevenNet(weights=options.teacher).load())
    earlier = {row["system"] for row in _measured() if row.get(SEEN)}
    for name in options.systems:
        write_results("general_physics", [_row(name, student, teacher)], keep=("system",))
    rows = _measured()
    if options.dataset is not None:
        known = _compositions(Dataset(options.dataset))
        rows = [
            {**row, SEEN: row["system"] in earlier or _composition(build(row["system"]).numbers) in known} for row in rows
        ]
    medians = [
        {"system": f"median, {name}", "kind": "median", **_medians([row for row in rows if row.get(SEEN) in wanted])}
        for name, wanted in (("all", (True, False, None)), ("seen", (True,)), ("not seen", (False,)))
    ]
    print(json.dumps(medians, indent=1))
    print(write_results("general_physics", [*rows, *medians], keep=("system",)))


def _measured() -> list[dict[str, Any]]:
    """Return the rows of the result file, without medians."""
    path = RESULTS / "general_physics.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    return [row for row in rows if row["kind"] != "median"]


def build(name: str) -> Atoms:
    """Return a system as it is before the teacher relaxes it."""
    if name in UNSEEN_MOLECULES:
        with_hydrogens = Chem.AddHs(Chem.MolFromSmiles(UNSEEN_MOLECULES[name]))
        EmbedMolecule(with_hydrogens, randomSeed=1)
        symbols = [atom.GetSymbol() for atom in with_hydrogens.GetAtoms()]
        return Atoms(symbols, with_hydrogens.GetConformer().GetPositions())
    if name in MOLECULES:
        return molecule(name)
    options = dict(ALL_CRYSTALS[name])
    if "perovskite" not in options:
        return bulk(**options)
    sites = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)]
    return crystal(options["perovskite"], sites, spacegroup=221, cellpar=[options["a"]] * 3 + [90] * 3)


def _composition(numbers: Sequence[int]) -> tuple[tuple[int, int], ...]:
    counts = Counter(int(z) for z in numbers)
    common = gcd(*counts.values())
    return tuple(sorted((z, n // common) for z, n in counts.items()))


def _compositions(dataset: Dataset) -> set[tuple[tuple[int, int], ...]]:
    """Return the compositions of the training part."""
    numbers, ptr = np.asarray(dataset.column("atoms/atomic_numbers")), dataset.ptr
    return {_composition(numbers[ptr[k] : ptr[k + 1]]) for k in dataset.split("train").tolist()}


def _row(name: str, student: Any, teacher: Any) -> dict[str, Any]:
    """Relax a system by the teacher, and return its gaps."""
    kind = "crystal" if name in ALL_CRYSTALS else "molecule"
    atoms = build(name)
    atoms.calc = teacher
    FIRE(FrechetCellFilter(atoms) if kind == "crystal" else atoms, logfile=None).run(fmax=0.01, steps=STEPS[kind])
    atoms.calc = None
    row: dict[str, Any] = {"system": name, "kind": kind}
    for check in CHECKS[kind]:
        row |= _figures(check, student, teacher, atoms)
    if row.get("equilibrium_volume") is not None:
        row["lattice_constant"] = row["equilibrium_volume"] / 3
    return _said(row)


def _figures(check: Any, student: Any, teacher: Any, atoms: Any) -> dict[str, float | None]:
    try:
        found = check(student, teacher, atoms)
    except Exception as error:  # noqa: BLE001 - one system that fails is a row without figures
        print(f"{check.__name__}: {type(error).__name__}: {error}", file=sys.stderr)
        return {}
    applies = [row for row in found if row.applies]
    return {row.check: row.measured if row.measured is not None and np.isfinite(row.measured) else None for row in applies}


def _said(row: dict[str, Any]) -> dict[str, Any]:
    rounded = {key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()}
    print(json.dumps(rounded), file=sys.stderr, flush=True)
    return rounded


def _medians(rows: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for check in ("lattice_constant", "bulk_modulus", "phonons", "vibrations", "torsions"):
        values = [row[check] for row in rows if row.get(check) is not None]
        if values:
            found[check] = round(median(values), 3)
            found[f"systems_{check}"] = len(values)
    return found


if __name__ == "__main__":
    main()
