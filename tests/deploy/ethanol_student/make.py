"""Makes the student in this folder: ethanol as 7net-0 has it, small enough to be kept with the tests.

    python tests/deploy/ethanol_student/make.py [FOLDER]

160 copies of ethanol, strained, turned about its bonds and rattled, are labelled by 7net-0, and a tiny student is trained on
150 of them for a minute. It knows no other molecule; at 300 K it holds together, which is what the tests of engines
ask of it.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from ase.build import molecule

from potstill.config import TrainConfig
from potstill.dataset import Records
from potstill.deploy.student import DeployedStudent
from potstill.evaluate.molecules import rotatable_bonds
from potstill.label import load_teacher
from potstill.student.config import StudentConfig
from potstill.student.files import save_student
from potstill.testing.models import TINY
from potstill.train.stage import train_records
from potstill.types import Structure

MADE, WATCHED = 160, 10


def structures() -> list[Structure]:
    """Ethanol with its bonds turned by up to 60 degrees, strained by some per cent, rattled by up to 0.12 Å."""
    rng = np.random.default_rng(0)
    made = []
    for k in range(MADE):
        atoms = molecule("CH3CH2OH")
        for dihedral, turned in rotatable_bonds(atoms):
            atoms.set_dihedral(*dihedral, atoms.get_dihedral(*dihedral) + rng.uniform(-60, 60), indices=turned)
        atoms.positions = atoms.positions @ (np.eye(3) + rng.normal(0, 0.03, (3, 3)))
        atoms.positions += rng.normal(0, rng.uniform(0.01, 0.12), atoms.positions.shape)
        made.append(Structure.from_ase(atoms, id=f"e{k}", family="ethanol"))
    return made


def main() -> None:
    """Label, train, save, and say how far it is from 7net-0."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    torch.set_num_threads(1)
    made = structures()
    labelled = [s.with_(labels=a) for s, a in zip(made, load_teacher("sevennet").label(made), strict=True)]
    training, watched = labelled[:-WATCHED], labelled[-WATCHED:]
    with tempfile.TemporaryDirectory() as scratch:
        student = train_records(
            Records.of(training),
            Records.of(watched),
            StudentConfig(**{**TINY, "cutoff_angstrom": 4.5}),
            TrainConfig(epochs=200, batch_structures=8, learning_rate=5e-3),
            Path(scratch),
            seed=1,
        )
    save_student(student, folder, {})
    found = DeployedStudent(student, {"elements": ["H", "C", "O"]}, dtype=torch.float64).label(watched)
    error = np.mean([np.abs(a.forces - s.labels.forces).mean() for a, s in zip(found, watched, strict=True)])
    forces = np.mean([np.abs(s.labels.forces).mean() for s in watched])
    print(f"{folder}: force error {error:.3f} eV/Å, mean force {forces:.3f} eV/Å")


if __name__ == "__main__":
    main()
