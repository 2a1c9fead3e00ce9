"""Relax many structures at once with a student in TorchSim, cells included.

    python torchsim_relax.py STUDENT [structures.extxyz] [--device cuda] [--out relaxed.extxyz]

On a GPU add ``--device cuda``: TorchSim then fills the card's memory by itself. Needs:  pip install 'potstill[engines]'
"""

import argparse
from time import perf_counter

import ase.io
import numpy as np
import torch
import torch_sim
from ase.build import bulk

import potstill
from potstill.deploy.torchsim import StudentModel

parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
parser.add_argument("student", help="run folder, or its folder student/")
parser.add_argument("structures", nargs="?", help="file that ASE reads; eight strained copper cells if left out")
parser.add_argument("--device", default="cpu")
parser.add_argument("--force", type=float, default=0.02, help="largest force at the end in eV/Å")
parser.add_argument("--max-steps", type=int, default=500)
parser.add_argument("--out", default="relaxed.extxyz")
options = parser.parse_args()

if options.structures:
    start = ase.io.read(options.structures, index=":")
else:
    start = [bulk("Cu", a=a, cubic=True).repeat(2) for a in np.linspace(3.50, 3.75, 8)]
    for seed, atoms in enumerate(start):
        atoms.rattle(0.05, seed=seed)
for atoms in start:
    if atoms.cell.handedness < 0:  # TorchSim would take its volume for negative
        atoms.set_cell(-atoms.cell)  # the same lattice

model = StudentModel(potstill.load_student(options.student, device=options.device))
begun = perf_counter()
state = torch_sim.optimize(
    start,
    model,
    optimizer=torch_sim.frechet_cell_fire,
    convergence_fn=torch_sim.generate_force_convergence_fn(options.force, include_cell_forces=False),
    max_steps=options.max_steps,
    autobatcher=options.device != "cpu",
)
seconds = perf_counter() - begun
relaxed = state.to_atoms()
ase.io.write(options.out, relaxed)
sizes = torch.bincount(state.system_idx, minlength=len(relaxed)).tolist()
largest = [float(x.norm(dim=1).max()) for x in state.forces.split(sizes)]  # eV/Å
for before, after, energy, force in zip(start, relaxed, state.energy.tolist(), largest, strict=True):
    volumes = " -> ".join(f"{atoms.get_volume() / len(atoms):.3f}" for atoms in (before, after))
    print(f"{after.get_chemical_formula():12s} {volumes} Å^3/atom  {energy / len(after):.4f} eV/atom  {force:.4f} eV/Å")
unfinished = sum(not force < options.force for force in largest)  # not finite counts too
print(f"{len(relaxed)} structures in {seconds:.1f} s on {options.device}: {options.out}")
if unfinished:
    print(f"{unfinished} of them are not relaxed: their largest force is not below {options.force} eV/Å; raise --max-steps")
    raise SystemExit(1)
