"""Write the ten starting structures of the tutorial: diamond silicon, 64 atoms, at ten lattice parameters.

    python structures.py [silicon.extxyz]

Put a file of your own in the place of this one: a trajectory, relaxed structures, any format that ASE reads.
"""

import sys

import ase.io
import numpy as np
from ase.build import bulk

path = sys.argv[1] if len(sys.argv) > 1 else "silicon.extxyz"
cells = [bulk("Si", "diamond", a=a, cubic=True).repeat(2) for a in np.linspace(5.35, 5.60, 10)]
ase.io.write(path, cells)
print(f"{path}: {len(cells)} structures of {len(cells[0])} atoms")
