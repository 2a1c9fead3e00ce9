"""Stop MD where the student leaves what it knows, and save that frame for the teacher.

    python uncertainty_md.py STUDENT [--start start.extxyz] [--kelvin 300] [--ps 10] [--limit 0.5]

``--limit`` is the largest expected force error of an atom in eV/Å. The default is three times the student's own threshold:
one atom in twenty of the held-out structures is beyond the threshold itself.
"""

import argparse
import sys

import ase.io
import numpy as np
from ase import units
from ase.build import bulk
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

import potstill

parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
parser.add_argument("student", help="run folder, or its folder student/")
parser.add_argument("--start", help="file that ASE reads; 32 atoms of copper if left out")
parser.add_argument("--kelvin", type=float, default=300.0)
parser.add_argument("--ps", type=float, default=10.0)
parser.add_argument("--limit", type=float, help="eV/Å")
options = parser.parse_args()

student = potstill.load_student(options.student)
if student.uncertainty is None:
    sys.exit("this student has learnt no expected errors: train it with train.uncertainty: true")
limit = options.limit or 3 * float(student.uncertainty.threshold)
atoms = ase.io.read(options.start) if options.start else bulk("Cu", cubic=True).repeat(2)
atoms.calc = student.calculator()
rng = np.random.default_rng(1)
MaxwellBoltzmannDistribution(atoms, temperature_K=options.kelvin, rng=rng)
step_fs = 0.5 if 1 in atoms.numbers else 1.0
dynamics = Langevin(atoms, step_fs * units.fs, temperature_K=options.kelvin, friction=0.01 / units.fs, rng=rng, fixcm=False)

steps, every = round(1000 * options.ps / step_fs), 10
for step in range(every, steps + every, every):
    dynamics.run(every)
    now = f"{step * step_fs / 1000:.3f} ps"
    expected = atoms.calc.results["uncertainty"]  # (n,) eV/Å
    if step % (100 * every) == 0:
        print(f"{now}  {atoms.get_temperature():6.0f} K  largest expected error {expected.max():.3f} eV/Å")
    if expected.max() > limit:
        ase.io.write("uncertain.extxyz", atoms)
        atom = int(np.argmax(expected))
        print(f"stopped at {now}: {atoms.symbols[atom]}{atom} expects an error of {expected[atom]:.3f} eV/Å")
        sys.exit(f"the limit is {limit:.3f} eV/Å: label uncertain.extxyz and train again")
print(f"{options.ps} ps done, every expected error was below {limit:.3f} eV/Å")
