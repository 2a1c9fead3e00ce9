"""Short constant-energy MD with the exported student. Run it with:  python run_md.py [STEPS]"""

import sys
from pathlib import Path

import ase.io
import numpy as np
from ase import units
from ase.md.verlet import VelocityVerlet

import potstill

here = Path(__file__).parent
steps = int(sys.argv[1]) if len(sys.argv) > 1 else 200
atoms = ase.io.read(here / "example.xyz")
atoms.calc = potstill.load_student(here / "student").calculator()
spread = np.sqrt(units.kB * 300 * atoms.get_masses())  # Maxwell-Boltzmann at 300 K
atoms.set_momenta(spread[:, None] * np.random.default_rng(1).standard_normal((len(atoms), 3)))
dynamics = VelocityVerlet(atoms, timestep=0.5 * units.fs)


def report():
    print(f"step {dynamics.nsteps:5d}  E = {atoms.get_total_energy():.5f} eV  T = {atoms.get_temperature():.0f} K")


dynamics.attach(report, interval=max(1, steps // 10))
dynamics.run(steps)
