"""MD by the student ``general``: twenty diverse systems for 50 ps, and the teacher's labels of their frames.

    python -m benchmarks.runs.general_md [--student general] [--systems aluminium water …] [--length-ps 50]

Each system starts from an ideal structure with random displacements and runs NVT (Langevin) by the student. The teacher
labels a frame every picosecond after the first two. A row holds whether the trajectory kept its shape, the error of forces
and energies on these frames, and how well the expected errors of the student hold: the share of atoms within its bound of
90 %, and the AUROC for errors above three times the median. The last two systems resemble nothing in the training set: a
fullerene and salt water. Rows go to ``results/general_md.json``; systems that are not measured again stay.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc111, molecule
from ase.spacegroup import crystal
from benchmarks.lib.common import write_results
from benchmarks.lib.own_md import FRICTION_PER_PS

from potstill.core.dynamics import EXPLODED, draw_velocities
from potstill.core.geometry import smallest_scaled_distance
from potstill.core.types import Structure
from potstill.deploy.langevin import Langevin, Walker
from potstill.deploy.student import DeployedStudent, load_student
from potstill.generate.liquids import Liquids
from potstill.generate.melts import Melts
from potstill.student.uncertainty import judge
from potstill.teacher.sevennet import SevenNet

SETTLING_PS, BETWEEN_FRAMES_PS = 2, 1
TIMESTEP_FS = 1.0
LABELS_AT_ONCE = 4
TOO_CLOSE = 0.5  # scaled distance below which a trajectory counts as broken


@dataclass(frozen=True, slots=True)
class System:
    """Starting structure, temperature in K, and whether nothing in the training set resembles it."""

    build: Callable[[], Atoms]
    kelvin: float
    foreign: bool = False


def alloy() -> Atoms:
    """Return 32 fcc sites, half copper and half nickel at random."""
    atoms = bulk("Cu", "fcc", a=3.57, cubic=True).repeat(2)
    atoms.numbers[np.random.default_rng(1).permutation(32)[:16]] = 28
    return atoms


def rutile() -> Atoms:
    """Return 24 atoms of rutile."""
    cell = crystal(["Ti", "O"], [(0, 0, 0), (0.305, 0.305, 0)], spacegroup=136, cellpar=[4.6, 4.6, 2.96, 90, 90, 90])
    return cell.repeat((1, 2, 2))


def perovskite() -> Atoms:
    """Return 40 atoms of cubic strontium titanate."""
    sites = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)]
    return crystal(["Sr", "Ti", "O"], sites, spacegroup=221, cellpar=[3.94] * 3 + [90] * 3).repeat(2)


def quartz() -> Atoms:
    """Return 36 atoms of alpha quartz."""
    sites = [(0.4697, 0, 1 / 3), (0.4135, 0.2669, 0.2144)]
    cell = crystal(["Si", "O"], sites, spacegroup=152, cellpar=[5.02, 5.02, 5.51, 90, 90, 120])
    return cell.repeat((2, 2, 1))


def carbon_monoxide_on_platinum() -> Atoms:
    """Return a molecule of CO on a slab of 27 platinum atoms."""
    slab = fcc111("Pt", (3, 3, 3), a=3.98, vacuum=7.0)
    add_adsorbate(slab, molecule("CO"), 1.85, "ontop", mol_index=1)
    slab.pbc = (True, True, True)
    return slab


def magnesia_surface() -> Atoms:
    """Return a (100) slab of four layers of MgO."""
    slab = bulk("MgO", "rocksalt", a=4.23, cubic=True).repeat((1, 1, 2))
    slab.center(vacuum=6.0, axis=2)
    return slab


def molten_salt() -> Atoms:
    """Return a box of 48 ions or more at random positions."""
    melts = Melts(count=1, elements=("Na", "Cl"), max_atoms=64, packing_fraction=(0.36, 0.40), max_cations=1)
    return _drawn(melts, 48)


def water() -> Atoms:
    """Return a box of 16 molecules or more near 1 g/cm^3."""
    liquids = Liquids(count=1, smiles=("O",), max_atoms=64, density_g_per_cubic_cm=(0.95, 1.02), max_components=1)
    return _drawn(liquids, 48)


def salt_water() -> Atoms:
    """Return liquid water with one molecule exchanged for a sodium and another for a chloride ion."""
    atoms = water()
    oxygens = [k for k, z in enumerate(atoms.numbers) if z == 8]
    first, second = oxygens[0], oxygens[len(oxygens) // 2]
    hydrogens = [k for o in (first, second) for k in _bonded(atoms, o)]
    atoms.numbers[[first, second]] = 11, 17
    del atoms[hydrogens]
    return atoms


def _bonded(atoms: Atoms, oxygen: int) -> list[int]:
    distances = atoms.get_distances(oxygen, range(len(atoms)), mic=True)
    return [k for k in np.argsort(distances)[1:3].tolist() if atoms.numbers[k] == 1]


def _drawn(source: Any, smallest: int) -> Atoms:
    for index in range(1000):
        (drawn,) = source.propose([index], 1, [])
        if isinstance(drawn, Structure) and len(drawn) >= smallest:
            return drawn.to_ase()
    raise RuntimeError(f"{source.source}: no structure of {smallest} atoms or more")


SYSTEMS = {
    "aluminium": System(lambda: bulk("Al", "fcc", a=4.04, cubic=True).repeat(2), 600.0),
    "iron": System(lambda: bulk("Fe", "bcc", a=2.83, cubic=True).repeat(2), 600.0),
    "tungsten": System(lambda: bulk("W", "bcc", a=3.17, cubic=True).repeat(2), 1000.0),
    "silicon": System(lambda: bulk("Si", "diamond", a=5.46, cubic=True), 600.0),
    "diamond": System(lambda: bulk("C", "diamond", a=3.57, cubic=True), 600.0),
    "silicon carbide": System(lambda: bulk("SiC", "zincblende", a=4.37, cubic=True), 600.0),
    "gallium arsenide": System(lambda: bulk("GaAs", "zincblende", a=5.75, cubic=True), 600.0),
    "sodium chloride": System(lambda: bulk("NaCl", "rocksalt", a=5.65, cubic=True), 600.0),
    "calcium fluoride": System(lambda: bulk("CaF2", "fluorite", a=5.5, cubic=True), 600.0),
    "NiAl": System(lambda: bulk("NiAl", "cesiumchloride", a=2.9, cubic=True).repeat(2), 600.0),
    "copper-nickel": System(alloy, 600.0),
    "rutile": System(rutile, 600.0),
    "strontium titanate": System(perovskite, 600.0),
    "quartz": System(quartz, 600.0),
    "CO on platinum": System(carbon_monoxide_on_platinum, 300.0),
    "MgO surface": System(magnesia_surface, 600.0),
    "molten NaCl": System(molten_salt, 1200.0),
    "water": System(water, 330.0),
    "ethanol": System(lambda: molecule("CH3CH2OH"), 300.0),
    "benzene": System(lambda: molecule("C6H6"), 300.0),
    "fullerene": System(lambda: molecule("C60"), 300.0, foreign=True),
    "salt water": System(salt_water, 330.0, foreign=True),
}


def main() -> None:
    """Measure the systems, one row each; those with hydrogen run together, and the others."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--student", default="general")
    parser.add_argument("--teacher", default="7net-0")
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--length-ps", type=int, default=50)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    student, teacher = load_student(options.student), SevenNet(weights=options.teacher).open()
    trips = [Trip.begin(name, SYSTEMS[name]) for name in options.systems]
    for hydrogen in (False, True):
        together = [trip for trip in trips if (1 in trip.walker.structure.atomic_numbers) == hydrogen]
        if together:
            travel(together, student, options.length_ps)
        for trip in together:
            row = {"system": trip.name, "student": options.student, **trip.row()}
            row |= compared(trip.frames[SETTLING_PS:], student, teacher)
            print(json.dumps(row), file=sys.stderr, flush=True)
            path = write_results("general_md", [row], keep=("system", "student"))
    print(path)


@dataclass(slots=True, eq=False)
class Trip:
    """The trajectory of a system: a frame every picosecond, and how it ended."""

    name: str
    system: System
    walker: Walker
    frames: list[Structure] = field(default_factory=list)
    temperatures: list[float] = field(default_factory=list)
    ended: str = ""

    @classmethod
    def begin(cls, name: str, system: System) -> Trip:
        """Return a system with displaced atoms and velocities at its temperature."""
        rng = np.random.default_rng(2026)
        atoms: Any = system.build()
        atoms.rattle(0.02, rng=rng)
        draw_velocities(atoms, system.kelvin, rng)
        return cls(name, system, Walker(Structure.from_ase(atoms), atoms.get_velocities(), system.kelvin, rng))

    def look(self) -> None:
        """Keep the frame, and end the trajectory where it lost its shape."""
        self.frames.append(self.walker.structure)
        self.temperatures.append(self.walker.temperature_kelvin)
        if smallest_scaled_distance(self.frames[-1])[0] < TOO_CLOSE:
            self.ended = "too_close"
        elif self.temperatures[-1] > EXPLODED * self.system.kelvin:
            self.ended = "exploded"

    def row(self) -> dict[str, Any]:
        """Return the facts of the trajectory."""
        return {
            "kelvin": self.system.kelvin,
            "foreign": self.system.foreign,
            "atoms": len(self.walker.structure),
            "length_ps": len(self.frames) * BETWEEN_FRAMES_PS,
            "ended": self.ended or "finished",
            "mean_kelvin": round(float(np.mean(self.temperatures)), 1) if self.temperatures else None,
        }


def travel(trips: list[Trip], student: DeployedStudent, length_ps: int) -> None:
    """Run the trajectories together, a picosecond at a time."""
    walkers = [trip.walker for trip in trips]
    dynamics = Langevin(student, walkers, timestep_fs=TIMESTEP_FS, friction_per_ps=FRICTION_PER_PS)
    started = perf_counter()
    for elapsed in range(BETWEEN_FRAMES_PS, length_ps + 1, BETWEEN_FRAMES_PS):
        failed = {id(walker) for walker in dynamics.run(round(1000 * BETWEEN_FRAMES_PS / dynamics.timestep_fs))}
        for trip in trips:
            if id(trip.walker) in failed:
                trip.ended = "failed"
            elif not trip.ended:
                trip.look()
        dynamics.drop([trip.walker for trip in trips if trip.ended])
        print(
            f"{len(dynamics.walkers)} systems, {elapsed} ps, {perf_counter() - started:.0f} s", file=sys.stderr, flush=True
        )
        if not dynamics.walkers:
            return


def compared(frames: list[Structure], student: DeployedStudent, teacher: Any) -> dict[str, Any]:
    """Return errors of the student on frames, and figures of its expected errors."""
    expected, off, length, energies = [], [], [], []
    for start in range(0, len(frames), LABELS_AT_ONCE):
        some = frames[start : start + LABELS_AT_ONCE]
        for frame, found, wanted in zip(some, student.label(some, uncertainty=True), teacher.label(some), strict=True):
            if not hasattr(wanted, "forces"):
                continue  # a refusal
            expected.append(found.extra["uncertainty"])
            off.append(np.linalg.norm(found.forces - wanted.forces, axis=1))
            length.append(np.linalg.norm(wanted.forces, axis=1))
            energies.append((found.energy - wanted.energy) / len(frame))
    if not off:
        return {"frames_labelled": 0}
    known: Any = student.uncertainty
    error = np.concatenate(off)
    judged = judge(np.concatenate(expected), error, float(known.threshold), float(known.bound))
    return {
        "frames_labelled": len(off),
        "of_mean_force": round(float(error.sum() / np.concatenate(length).sum()), 4),
        "force_error_mev_per_angstrom": round(1e3 * float(error.mean()), 1),
        "energy_mae_mev_per_atom": round(1e3 * float(np.mean(np.abs(energies))), 2),
        "energy_spread_mev_per_atom": round(1e3 * float(np.std(energies)), 2),
        **{key: judged[key] for key in ("within_bound", "auroc_large", "flagged")},
    }


if __name__ == "__main__":
    main()
