"""Structures in, labels out: buckets that grow, steps that share a search, systems and dynamics on the card."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ase import units
from ase.md.verlet import VelocityVerlet

from gpu_kit import ELEMENTS, SMALL, assert_labels, device, few, in_float64, lively
from potstill.core.cpp import KernelError
from potstill.core.dynamics import draw_velocities
from potstill.core.types import Structure
from potstill.deploy.langevin import Langevin, Walker
from potstill.deploy.student import DeployedStudent
from potstill.student import backends
from potstill.student.gpu import session
from potstill.student.gpu.dynamics import Dynamics
from potstill.student.gpu.session import GpuStudent
from potstill.student.gpu.systems import Systems
from potstill.student.uncertainty import Uncertainty

TINY = {**SMALL, "layers": 1, "radial": 2, "experts": 1}


def deployed(model, **options) -> DeployedStudent:
    return DeployedStudent(model, {"elements": ["H", "C", "O", "Si", "Cu"]}, device(), **options)


def test_a_search_that_wants_more_room_gets_it(monkeypatch):
    monkeypatch.setattr(session, "CANDIDATES_AT_FIRST", 1)
    crystal = Structure(np.array([14]), np.zeros((1, 3)), np.diag([0.55, 1.5, 1.4]), np.ones(3, bool))
    model = lively(ELEMENTS, **{**TINY, "cutoff_angstrom": 6.5})
    monkeypatch.setattr(session, "rounded_up", lambda n, least=32: max(n, 1))
    student = GpuStudent(model.to(device()))
    assert_labels(student.label([crystal]), in_float64(model, [crystal]), [crystal], close=1e-4)


def test_backend_gpu_labels_and_says_so():
    model = lively(ELEMENTS, **TINY)
    structures = few()
    expected = in_float64(model, structures)
    student = deployed(model, backend="gpu")
    assert student.backend == "gpu"
    assert_labels(student.label(structures), expected, structures)


def test_auto_falls_back_with_a_reason(monkeypatch, caplog):
    caplog.set_level(logging.INFO, "potstill")
    model = lively([1, 8], **TINY)

    def refuse(_):
        raise KernelError("no card")

    monkeypatch.setattr(backends, "_made", refuse)
    with pytest.raises(KernelError, match="no card"):
        deployed(model, backend="gpu")
    assert deployed(model).backend in {"fused", "torch"}  # a CPU is not asked
    on_card = SimpleNamespace(embedding=SimpleNamespace(weight=SimpleNamespace(is_cuda=True)))
    assert backends.gpu_student(on_card, "auto") is None
    assert "running in PyTorch: no card" in caplog.text


@pytest.mark.parametrize(("neighbors", "reach"), [(0.0, 1e6), (1.0, 1.0)])
def test_uncertainty_is_that_of_pytorch(neighbors, reach):
    model = lively(ELEMENTS, **TINY)
    h = model.architecture.hidden
    known = Uncertainty(
        torch.eye(h),
        torch.ones(h + 1),
        torch.tensor([-9.0, 9.0]),
        torch.tensor([0.3, 0.7, 0.1]),
        torch.tensor(1.0),
        force=torch.tensor([0.5, 0.1]),
        neighbors=torch.tensor(neighbors),
        reach=torch.tensor(reach),
    )
    structures = few()[:2]
    (one, other) = deployed(model, backend="gpu", uncertainty=known).label(structures, uncertainty=True)
    expected = deployed(model, backend="torch", uncertainty=known).label(structures, uncertainty=True)
    assert np.allclose(one.extra["uncertainty"], expected[0].extra["uncertainty"], rtol=1e-4)
    assert np.allclose(other.extra["uncertainty"], expected[1].extra["uncertainty"], rtol=1e-4)


def test_steps_share_a_search_until_an_atom_has_moved_far_or_the_cell_has_changed():
    model = lively(ELEMENTS, **TINY)
    structure = few()[1]
    stepper = GpuStudent(model.to(device())).stepper(0.6)
    far = structure.positions.copy()
    far[0, 0] += 0.4
    for moved, searches in (
        (structure, 1),
        (structure.with_(positions=structure.positions + 0.05), 1),
        (structure.with_(positions=far), 2),
        (structure.with_(positions=1.02 * far, cell=1.02 * structure.cell), 2),
        (structure.with_(atomic_numbers=structure.atomic_numbers[::-1].copy()), 3),
    ):
        assert_labels([stepper(moved)], in_float64(model, [moved]), [moved])
        assert stepper.searches == searches


def test_calculator_steps_on_the_card():
    model = lively(ELEMENTS, **TINY)
    student = deployed(model, backend="gpu")
    atoms = few()[0].to_ase()
    atoms.calc = student.calculator()
    atoms.get_forces()
    atoms.positions += 0.03
    expected = in_float64(model, [Structure.from_ase(atoms)])
    assert np.abs(atoms.get_forces() - expected.forces.numpy()).max() < 3e-5
    assert atoms.calc._stepper.searches == 1


def test_systems_take_tensors_and_give_tensors():
    model = lively(ELEMENTS, **TINY)
    structures = few()[:2]
    systems = Systems(GpuStudent(model.to(device())), structures)
    strained = [s.with_(positions=1.01 * s.positions, cell=1.01 * s.cell) for s in structures]
    positions = torch.from_numpy(np.concatenate([s.positions for s in strained]))
    systems(positions.to(device()), torch.from_numpy(np.stack([s.cell for s in strained])).to(device()))
    expected = in_float64(model, strained)
    assert systems.searches == 1
    assert (systems.energy.cpu() - expected.energy).abs().max() < 1e-4
    assert (systems.forces.cpu() - expected.forces).abs().max() < 3e-5
    assert (systems.stress.cpu() - expected.stress)[1].abs().max() < 3e-5
    assert systems.stress[0].isnan().all()  # a molecule


def test_dynamics_without_friction_is_velocity_verlet():
    model = lively(ELEMENTS, **TINY)
    structure = few()[0]
    dynamics = Dynamics(GpuStudent(model.to(device())), [structure], temperature_kelvin=300.0, skin_angstrom=0.05)
    atoms = structure.to_ase()
    atoms.set_velocities(dynamics.velocities.cpu().numpy())
    atoms.calc = deployed(lively(ELEMENTS, **TINY), backend="torch", dtype=torch.float64).calculator()
    VelocityVerlet(atoms, timestep=units.fs).run(4)
    trace = dynamics.run(4)
    assert dynamics.systems.searches > 1  # the skin is thin: a chunk was taken back
    assert dynamics.steps == 4
    assert np.abs(dynamics.systems.positions.cpu().numpy() - atoms.positions).max() < 1e-6
    assert trace.potential.shape == (4, 1)
    assert abs(float(trace.kinetic[-1, 0]) - atoms.get_kinetic_energy()) < 1e-5


def test_systems_move_together_on_the_card():
    student, walkers, expected = deployed(lively(ELEMENTS, **TINY), backend="gpu"), [], []
    for k, structure in enumerate(few()[:2]):
        atoms = structure.to_ase()
        draw_velocities(atoms, 300.0, np.random.default_rng(k))
        walkers.append(Walker(structure, atoms.get_velocities(), 300.0, np.random.default_rng(k)))
        atoms.calc = deployed(lively(ELEMENTS, **TINY), backend="torch", dtype=torch.float64).calculator()
        expected.append(atoms)
    dynamics = Langevin(student, walkers, timestep_fs=1.0, friction_per_ps=0.0)
    assert dynamics.run(3) == []
    first, last = walkers
    assert dynamics.run(1) == []
    dynamics.drop([first])
    assert dynamics.run(1) == []
    for atoms, walker, steps in zip(expected, walkers, (4, 5), strict=True):
        VelocityVerlet(atoms, timestep=dynamics.timestep_fs * units.fs).run(steps)
        assert np.abs(walker.structure.positions - atoms.positions).max() < 1e-6
        assert np.abs(walker.velocities - atoms.get_velocities()).max() < 1e-5
        assert np.abs(walker.labels.forces - atoms.get_forces()).max() < 1e-4
    assert dynamics.walkers == [last]


def test_each_system_has_a_temperature_of_its_own():
    student = GpuStudent(lively(ELEMENTS, **TINY).to(device()))
    structure = few()[0]
    dynamics = Dynamics(student, [structure] * 2, temperature_kelvin=[100.0, 400.0], seed=1)
    cold, hot = np.split(dynamics.velocities.cpu().numpy(), 2)
    alike = Dynamics(student, [structure] * 2, temperature_kelvin=400.0, seed=1).velocities.cpu().numpy()
    assert np.allclose(np.concatenate([2 * cold, hot]), alike)
