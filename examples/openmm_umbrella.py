"""Umbrella sampling in OpenMM with a student: free energy along a torsion, by WHAM.

    python openmm_umbrella.py STUDENT [--molecule ethanol.xyz --torsion 2 0 1 5] [--windows 18] [--steps 20000]

Atoms of the torsion count from 0. Needs OpenMM 8.4 or newer:  pip install 'potstill[engines]'
"""

import argparse

import ase.io
import numpy as np
import openmm
from ase import units
from ase.build import molecule

import potstill
from potstill.core.types import Structure
from potstill.deploy.openmm import make_system

SPRING_KJ_PER_MOL_RAD2 = 200.0
KELVIN, TIMESTEP_PS, BETWEEN_SAMPLES, BINS = 300.0, 0.0005, 20, 36
KT_KJ_PER_MOL = units.kB * KELVIN * units.mol / units.kJ

parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
parser.add_argument("student", help="run folder, or its folder student/")
parser.add_argument("--molecule", help="file that ASE reads; ethanol if left out")
parser.add_argument("--torsion", type=int, nargs=4, default=[0, 1, 2, 3], help="indices of four atoms")
parser.add_argument("--windows", type=int, default=18)
parser.add_argument("--steps", type=int, default=20_000, help="steps in each window")
options = parser.parse_args()

atoms = ase.io.read(options.molecule) if options.molecule else molecule("CH3CH2OH")
system, positions = make_system(potstill.load_student(options.student), Structure.from_ase(atoms))
bias = openmm.CustomTorsionForce("0.5*k*d^2; d=min(abs(theta-center), 6.283185307-abs(theta-center))")
bias.addGlobalParameter("k", SPRING_KJ_PER_MOL_RAD2)
bias.addGlobalParameter("center", 0.0)
bias.addTorsion(*options.torsion, [])
bias.setForceGroup(1)
system.addForce(bias)
integrator = openmm.LangevinMiddleIntegrator(KELVIN, 5.0, TIMESTEP_PS)
context = openmm.Context(system, integrator)
context.setPositions(positions)
context.setVelocitiesToTemperature(KELVIN, 1)


def torsion():
    """Angle of the four atoms now, in rad between -pi and pi."""
    a, b, c, d = context.getState(positions=True).getPositions(asNumpy=True)._value[options.torsion]
    first, axis, last = b - a, c - b, d - c
    left, right = np.cross(first, axis), np.cross(axis, last)
    return np.arctan2(np.linalg.norm(axis) * first @ right, left @ right)


start = torsion()
centers = (start + 2 * np.pi * np.arange(options.windows) / options.windows + np.pi) % (2 * np.pi) - np.pi
samples = []
for center in centers:
    context.setParameter("center", center)
    integrator.step(options.steps // 5)
    found = []
    for _ in range(options.steps // BETWEEN_SAMPLES):
        integrator.step(BETWEEN_SAMPLES)
        found.append(torsion())
    samples.append(found)

edges = np.linspace(-np.pi, np.pi, BINS + 1)
middles = 0.5 * (edges[1:] + edges[:-1])
counts = np.array([np.histogram(found, edges)[0] for found in samples])
away = np.abs(middles[None] - centers[:, None])
weights = np.exp(-0.5 * SPRING_KJ_PER_MOL_RAD2 * np.minimum(away, 2 * np.pi - away) ** 2 / KT_KJ_PER_MOL)
shifts = np.ones(len(centers))
for _ in range(5000):  # the equations of WHAM, to their fixed point
    density = counts.sum(0) / (counts.sum(1)[:, None] * weights * shifts[:, None]).sum(0)
    shifts = 1 / (weights * density).sum(1)
with np.errstate(divide="ignore"):
    energy = -KT_KJ_PER_MOL * np.log(density)
energy -= energy.min()
for middle, value in zip(middles, energy, strict=True):
    print(f"{np.degrees(middle):8.1f} degrees  {value:8.2f} kJ/mol")
print(f"barrier {np.max(energy[np.isfinite(energy)]):.2f} kJ/mol, {np.isfinite(energy).sum()} of {BINS} bins visited")
