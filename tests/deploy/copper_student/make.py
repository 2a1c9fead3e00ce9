"""Makes the student in this folder: EMT copper, small enough to be kept with the tests.

    python tests/deploy/copper_student/make.py [FOLDER]

160 strained and rattled cells are labelled by EMT, and a tiny student is trained on 150 of them for a minute. It is no good
copper; it holds together for some picoseconds at 300 K and 5 GPa, which is what the tests of the engines ask of it.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from ase.build import bulk

from potstill.config import TrainConfig
from potstill.dataset import Records
from potstill.deploy.student import DeployedStudent
from potstill.label import load_teacher
from potstill.student.config import StudentConfig
from potstill.student.files import save_student
from potstill.testing.models import TINY
from potstill.train.stage import train_records
from potstill.types import Structure

WATCHED = 10


def structures() -> list[Structure]:
    """Cells of 4 and 8 atoms, strained by some per cent and rattled by up to 0.25 Å."""
    rng = np.random.default_rng(0)
    made = []
    for k in range(160):
        atoms = bulk("Cu", "fcc", a=3.61, cubic=True) * (1, 1, 1 + k % 2)
        deformation = np.eye(3) * (1 + rng.uniform(-0.05, 0.07)) + rng.normal(0, 0.02, (3, 3))
        atoms.set_cell(atoms.cell @ deformation, scale_atoms=True)
        atoms.positions += rng.normal(0, rng.uniform(0.02, 0.25), atoms.positions.shape)
        made.append(Structure.from_ase(atoms, id=f"c{k}", family="Cu"))
    return made


def main() -> None:
    """Label, train, save, and say how far it is from EMT."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    torch.set_num_threads(1)
    made = structures()
    labelled = [s.with_(labels=a) for s, a in zip(made, load_teacher("emt").label(made), strict=True)]
    training, watched = labelled[:-WATCHED], labelled[-WATCHED:]
    with tempfile.TemporaryDirectory() as scratch:
        student = train_records(
            Records.of(training),
            Records.of(watched),
            StudentConfig(**{**TINY, "cutoff_angstrom": 4.5}),
            TrainConfig(epochs=30, batch_structures=8, learning_rate=5e-3),
            Path(scratch),
            seed=1,
        )
    save_student(student, folder, {})
    found = DeployedStudent(student, {"elements": ["Cu"]}, dtype=torch.float64).label(watched)
    error = np.mean([np.abs(a.forces - s.labels.forces).mean() for a, s in zip(found, watched, strict=True)])
    forces = np.mean([np.abs(s.labels.forces).mean() for s in watched])
    print(f"{folder}: force error {error:.3f} eV/Å, mean force {forces:.3f} eV/Å")


if __name__ == "__main__":
    main()
