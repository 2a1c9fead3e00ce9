"""The student ``general`` against its teacher on known crystals and molecules.

    python -m benchmarks.teachers.general_physics [--student general] [--teacher 7net-0]

Crystals: equation of state about the teacher's own minimum, and the mean phonon frequency of the primitive cell. Molecules:
vibrations and rigid turns about bonds. Figures are gaps to the teacher, by the code of ``potstill evaluate``. Results go to
``results/general_physics.json``, one row for each system and one for the medians.
"""

from __future__ import annotations

import argparse
import json
import sys
from statistics import median
from typing import Any

from ase.build import bulk, molecule
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE
from benchmarks.lib.common import write_results

from potstill.deploy.student import load_student
from potstill.evaluate import molecules, phonons, solids
from potstill.teacher.calculator import TeacherCalculator
from potstill.teacher.sevennet import SevenNet

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
MOLECULES = (
    *("H2O", "NH3", "CH4", "C2H4", "C2H6", "CH3OH", "CH3CH2OH", "H2CO", "HCOOH", "CH3NH2"),
    *("C6H6", "C5H5N", "CH3SH", "CH3Cl", "SiH4", "PH3", "H2O2", "CH3CN", "isobutane", "trans-butane"),
)


def main() -> None:
    """Measure all systems and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--student", default="general")
    parser.add_argument("--teacher", default="7net-0")
    options = parser.parse_args()
    student = load_student(options.student, dtype="float64").calculator()
    teacher = TeacherCalculator(SevenNet(weights=options.teacher).load())
    rows = [_crystal(name, build, student, teacher) for name, build in CRYSTALS.items()]
    rows += [_molecule(name, student, teacher) for name in MOLECULES]
    rows.append(_medians(rows))
    print(json.dumps(rows[-1]))
    print(write_results("general_physics", rows))


def _crystal(name: str, build: dict[str, Any], student: Any, teacher: Any) -> dict[str, Any]:
    atoms = bulk(**build)
    atoms.calc = teacher
    FIRE(FrechetCellFilter(atoms), logfile=None).run(fmax=0.01, steps=200)
    atoms.calc = None
    row: dict[str, Any] = {"system": name, "kind": "crystal"}
    for check in (solids.equation_of_state, phonons.phonons):
        row |= _figures(check, student, teacher, atoms)
    if row.get("equilibrium_volume") is not None:
        row["lattice_constant"] = row["equilibrium_volume"] / 3
    return _said(row)


def _molecule(name: str, student: Any, teacher: Any) -> dict[str, Any]:
    atoms = molecule(name)
    atoms.calc = teacher
    FIRE(atoms, logfile=None).run(fmax=0.01, steps=300)
    atoms.calc = None
    row: dict[str, Any] = {"system": name, "kind": "molecule"}
    for check in (molecules.vibrations, molecules.torsions):
        row |= _figures(check, student, teacher, atoms)
    return _said(row)


def _figures(check: Any, student: Any, teacher: Any, atoms: Any) -> dict[str, float | None]:
    try:
        found = check(student, teacher, atoms)
    except Exception as error:  # noqa: BLE001 - one system that fails is a row without figures
        print(f"{check.__name__}: {type(error).__name__}: {error}", file=sys.stderr)
        return {}
    return {row.check: row.measured for row in found if row.applies}


def _said(row: dict[str, Any]) -> dict[str, Any]:
    rounded = {key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()}
    print(json.dumps(rounded), file=sys.stderr, flush=True)
    return rounded


def _medians(rows: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {"system": "median", "kind": "median"}
    for check in ("lattice_constant", "bulk_modulus", "phonons", "vibrations", "torsions"):
        values = [row[check] for row in rows if row.get(check) is not None]
        if values:
            found[check] = round(median(values), 3)
            found[f"systems_{check}"] = len(values)
    return found


if __name__ == "__main__":
    main()
