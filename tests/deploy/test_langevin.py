"""Systems that move together: each as it would alone, canonical, and dropped where it cannot go on."""

from types import SimpleNamespace

import numpy as np
import pytest
from ase import units
from ase.md.verlet import VelocityVerlet

from potstill.core.dynamics import draw_velocities
from potstill.core.types import Labels, Structure
from potstill.deploy.langevin import Langevin, Walker
from potstill.testing import copper, ethanol, random_student, water

STIFFNESS = 3.0  # eV/Å^2


@pytest.fixture(scope="module")
def student():
    return random_student([1, 6, 8, 29])


def walker(structure: Structure, kelvin: float = 300.0, seed: int = 1) -> Walker:
    atoms, rng = structure.to_ase(), np.random.default_rng(seed)
    draw_velocities(atoms, kelvin, rng)
    return Walker(structure, atoms.get_velocities(), kelvin, rng)


def fake(label) -> SimpleNamespace:
    return SimpleNamespace(
        cutoff_angstrom=3.0, gpu=None, uncertainty=None, label=label,
        refuse_unknown=lambda structure: None, outside_domain=lambda structure, neighbors: [],
    )  # fmt: skip


def springs(structures, **_):
    """Each atom is held at the origin."""
    return [
        Labels(0.5 * STIFFNESS * float((s.positions**2).sum()), -STIFFNESS * s.positions, np.zeros((3, 3)))
        for s in structures
    ]


def test_without_friction_each_moves_by_velocity_verlet(student):
    walkers = [walker(copper()), walker(ethanol(), seed=2)]
    expected = [w.structure.to_ase() for w in walkers]
    for atoms, w in zip(expected, walkers, strict=True):
        atoms.set_velocities(w.velocities)
        atoms.calc = student.calculator()
    dynamics = Langevin(student, walkers, timestep_fs=1.0, friction_per_ps=0.0)
    assert dynamics.timestep_fs == 0.5  # there is hydrogen
    assert dynamics.run(3) == []
    assert dynamics.run(5) == []
    for atoms, w in zip(expected, walkers, strict=True):
        VelocityVerlet(atoms, timestep=0.5 * units.fs).run(8)
        assert w.structure.positions == pytest.approx(atoms.positions, abs=1e-5)
        assert w.velocities == pytest.approx(atoms.get_velocities(), abs=1e-4)
        assert w.labels.forces == pytest.approx(atoms.get_forces(), abs=1e-3)
        assert w.temperature_kelvin == pytest.approx(atoms.get_temperature(), rel=1e-3)


def test_random_numbers_do_not_depend_on_the_others(student):
    alone, among = walker(water()), walker(water())
    Langevin(student, [alone], timestep_fs=1.0, friction_per_ps=20.0).run(10)
    Langevin(student, [walker(ethanol(), seed=3), among], timestep_fs=1.0, friction_per_ps=20.0).run(10)
    assert among.structure.positions == pytest.approx(alone.structure.positions, abs=1e-5)


def test_springs_have_the_energy_of_equipartition_at_each_temperature():
    """BAOAB samples positions in a harmonic well without an error of the time step."""
    apart = Structure(np.full(300, 29), np.zeros((300, 3)))
    walkers = [walker(apart, kelvin, seed) for seed, kelvin in enumerate((100.0, 900.0))]
    dynamics = Langevin(fake(springs), walkers, timestep_fs=10.0, friction_per_ps=20.0)
    dynamics._neighbors = {id(w): lambda *_: None for w in walkers}  # all atoms are near one place
    dynamics.run(50)
    for w in walkers:
        squares = []
        for _ in range(40):
            dynamics.run(10)
            squares.append((w.structure.positions**2).mean())
        assert STIFFNESS * np.mean(squares) == pytest.approx(units.kB * w.kelvin, rel=0.05)


def nothing(structures, **_):
    """An ideal gas."""
    return [Labels(0.0, np.zeros(s.positions.shape), np.zeros((3, 3))) for s in structures]


def test_an_ideal_gas_has_the_volumes_of_its_pressure():
    """The density of V is V^N exp(-p V / kT): its mean is (N + 1) kT / p, and its variance (N + 1) (kT / p)^2."""
    kelvin, pressure_gpa, atoms, edge = 900.0, 2.0, 8, 4.5
    places = np.random.default_rng(0).uniform(0, edge, (atoms, 3))
    gas = Structure(np.full(atoms, 29), places, edge * np.eye(3), [True] * 3)
    walkers = [walker(gas, kelvin, seed) for seed in range(16)]
    dynamics = Langevin(fake(nothing), walkers, timestep_fs=10.0, friction_per_ps=20.0, pressure_gpa=pressure_gpa)
    dynamics._neighbors = {id(w): lambda *_: None for w in walkers}
    dynamics.run(400)
    volumes = []
    for _ in range(100):
        dynamics.run(20)
        volumes += [w.structure.volume for w in walkers]
    unit = units.kB * kelvin / (pressure_gpa * units.GPa)
    assert np.mean(volumes) == pytest.approx((atoms + 1) * unit, rel=0.06)
    assert np.std(volumes) == pytest.approx(np.sqrt(atoms + 1) * unit, rel=0.1)


def test_the_barostat_scales_periodic_structures_alone(student):
    crystal, slab, free = walker(copper()), walker(copper()), walker(water())
    slab.structure = slab.structure.with_(pbc=[True, True, False])
    before = [w.structure for w in (crystal, slab, free)]
    Langevin(student, [crystal, slab, free], timestep_fs=1.0, friction_per_ps=20.0, pressure_gpa=0.0).run(5)
    assert crystal.structure.volume != before[0].volume
    scale = crystal.structure.cell / np.where(before[0].cell == 0, 1.0, before[0].cell)
    assert np.unique(scale[scale != 0].round(12)).size == 1  # all axes alike
    assert np.array_equal(slab.structure.cell, before[1].cell)
    assert np.array_equal(free.structure.cell, before[2].cell)


def test_one_that_cannot_go_on_is_dropped_and_the_others_move():
    def label(structures, **_):
        forces = [np.full(s.positions.shape, np.inf if len(s) == 3 else 0.0) for s in structures]
        return [Labels(0.0, f, None) for f in forces]

    bad, good = walker(water()), walker(copper())
    before = good.structure.positions
    dynamics = Langevin(fake(label), [bad, good], timestep_fs=1.0, friction_per_ps=10.0)
    assert dynamics.run(4) == [bad]
    assert dynamics.walkers == [good]
    assert dynamics.run(4) == []
    assert not np.array_equal(good.structure.positions, before)
