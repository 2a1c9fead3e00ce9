"""Makes the students beside this script, small enough to be kept with the tests: EMT copper, and ethanol as 7net-0 has it.

    python tests/deploy/make_students.py [copper ethanol] [--folder FOLDER]

160 structures are labelled, and a tiny student is trained on 150 of them for a minute or two. They are no good force fields:
copper holds together for some picoseconds at 300 K and 5 GPa, ethanol at 300 K, which is what the tests of engines ask.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, molecule

from potstill.core.types import Structure
from potstill.dataset import Records
from potstill.deploy.student import DeployedStudent
from potstill.evaluate.molecules import rotatable_bonds
from potstill.student.files import save_student
from potstill.student.options import StudentConfig
from potstill.teacher import load_teacher
from potstill.testing.models import TINY
from potstill.train.job import TrainJob
from potstill.train.options import TrainConfig
from potstill.train.stage import train_student

MADE, WATCHED = 160, 10


def copper(k: int, rng: np.random.Generator) -> Atoms:
    """A cell of 4 or 8 atoms, strained by some per cent and rattled by up to 0.25 Å."""
    atoms = bulk("Cu", "fcc", a=3.61, cubic=True) * (1, 1, 1 + k % 2)
    deformation = np.eye(3) * (1 + rng.uniform(-0.05, 0.07)) + rng.normal(0, 0.02, (3, 3))
    atoms.set_cell(atoms.cell @ deformation, scale_atoms=True)
    atoms.positions += rng.normal(0, rng.uniform(0.02, 0.25), atoms.positions.shape)
    return atoms


def ethanol(_k: int, rng: np.random.Generator) -> Atoms:
    """Bonds turned by up to 60 degrees, strained by some per cent, rattled by up to 0.12 Å."""
    atoms = molecule("CH3CH2OH")
    for dihedral, turned in rotatable_bonds(atoms):
        atoms.set_dihedral(*dihedral, atoms.get_dihedral(*dihedral) + rng.uniform(-60, 60), indices=turned)
    atoms.positions = atoms.positions @ (np.eye(3) + rng.normal(0, 0.03, (3, 3)))
    atoms.positions += rng.normal(0, rng.uniform(0.01, 0.12), atoms.positions.shape)
    return atoms


STUDENTS = {"copper": (copper, "emt", 30), "ethanol": (ethanol, "sevennet", 200)}  # structures, teacher, epochs


def make(name: str, folder: Path) -> str:
    """Label, train, save, and say how far it is from its teacher."""
    draw, teacher, epochs = STUDENTS[name]
    rng = np.random.default_rng(0)
    made = [Structure.from_ase(draw(k, rng), id=f"{name}-{k}", family=name) for k in range(MADE)]
    labelled = [s.with_(labels=a) for s, a in zip(made, load_teacher(teacher).label(made), strict=True)]
    training, watched = labelled[:-WATCHED], labelled[-WATCHED:]
    with tempfile.TemporaryDirectory() as scratch:
        job = TrainJob(
            training=Records.of(training),
            watching=Records.of(watched),
            student=StudentConfig(**{**TINY, "cutoff_angstrom": 4.5}),
            config=TrainConfig(epochs=epochs, batch_structures=8, learning_rate=5e-3),
            folder=Path(scratch),
            seed=1,
        )
        student = train_student(job)
    save_student(student, folder, {})
    elements = sorted({symbol for s in made for symbol in s.to_ase().symbols})
    found = DeployedStudent(student, {"elements": elements}, dtype=torch.float64).label(watched)
    error = np.mean([np.abs(a.forces - s.labels.forces).mean() for a, s in zip(found, watched, strict=True)])
    forces = np.mean([np.abs(s.labels.forces).mean() for s in watched])
    return f"{folder}: force error {error:.3f} eV/Å, mean force {forces:.3f} eV/Å"


def main() -> None:
    """One after the other."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("students", nargs="*", default=list(STUDENTS), help="copper, ethanol")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.students:
        print(make(name, options.folder / f"{name}_student"))


if __name__ == "__main__":
    main()
