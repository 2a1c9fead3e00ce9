"""Compute phonons of a crystal with a student: frequencies on a mesh, free energy, imaginary modes.

    python phonons.py STUDENT [--crystal relaxed.cif] [--supercell 2]

Needs:  pip install 'potstill[phonons]'
"""

import argparse
import warnings

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

import potstill

parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
parser.add_argument("student", help="run folder, or its folder student/")
parser.add_argument("--crystal", help="file that ASE reads; copper if left out")
parser.add_argument("--supercell", type=int, default=2)
parser.add_argument("--mesh", type=int, default=8)
options = parser.parse_args()

calculator = potstill.load_student(options.student, dtype="float64").calculator()
crystal = ase.io.read(options.crystal) if options.crystal else bulk("Cu", cubic=True)
crystal.calc = calculator
FIRE(FrechetCellFilter(crystal), logfile=None).run(fmax=1e-4, steps=500)  # phonons need a minimum

warnings.filterwarnings("ignore", message="primitive_matrix")  # phonopy 4 tells that its default has changed
cell = PhonopyAtoms(
    symbols=crystal.get_chemical_symbols(), cell=crystal.cell[:], scaled_positions=crystal.get_scaled_positions()
)
phonon = Phonopy(cell, supercell_matrix=options.supercell * np.eye(3, dtype=int), primitive_matrix="auto")
phonon.generate_displacements(distance=0.02)
forces = []
for displaced in phonon.supercells_with_displacements:
    atoms = Atoms(displaced.symbols, cell=displaced.cell, positions=displaced.positions, pbc=True, calculator=calculator)
    forces.append(atoms.get_forces())
phonon.forces = forces
phonon.produce_force_constants()
phonon.run_mesh([options.mesh] * 3)
frequencies = phonon.mesh.frequencies
phonon.run_thermal_properties(t_min=300, t_max=300, t_step=1, cutoff_frequency=0.01)  # without the acoustic zeros
free_energy = phonon.thermal_properties.free_energy[0]

print(f"displacements     {len(forces)} of {len(forces[0])} atoms")
print(f"lattice           {crystal.cell.lengths().round(4)} Å")
print(f"frequencies       {frequencies.min():.2f} to {frequencies.max():.2f} THz")
print(f"free energy       {free_energy:.3f} kJ/mol at 300 K")
print("imaginary modes   " + ("yes: no minimum, or a wrong student" if frequencies.min() < -0.1 else "none"))
