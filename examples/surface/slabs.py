"""Write copper slabs with carbon monoxide on them: three sites, four heights, and the bare slab.

    python slabs.py [slabs.extxyz]

The slabs are periodic along the surface only. Change metal, facet and adsorbate for your own system.
"""

import sys

import ase.io
from ase.build import add_adsorbate, fcc111, molecule

path = sys.argv[1] if len(sys.argv) > 1 else "slabs.extxyz"
frames = []
for site in ("ontop", "bridge", "fcc"):
    for height in (1.7, 1.9, 2.2, 2.6):
        slab = fcc111("Cu", size=(3, 3, 3), vacuum=10.0)
        add_adsorbate(slab, molecule("CO"), height, site, mol_index=1)  # carbon down, at this height
        slab.pbc = (True, True, False)
        del slab.info["adsorbate_info"]  # sites of ASE, which extended XYZ cannot hold
        frames.append(slab)
bare = fcc111("Cu", size=(3, 3, 3), vacuum=10.0)
bare.pbc = (True, True, False)
del bare.info["adsorbate_info"]
ase.io.write(path, [*frames, bare])
print(f"{path}: {len(frames) + 1} slabs of up to {len(frames[0])} atoms")
