"""A teacher whose energy bends between near siblings is no fault; a wrong label there is one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from potstill.audit.options import AuditConfig
from potstill.audit.stage import audit
from potstill.core.types import Labels
from potstill.dataset import open_dataset
from potstill.stats.siblings import between
from potstill.testing import slab

GATES = AuditConfig()
HEIGHT_EV, WIDTH = 0.05, 0.01  # of a step of the energy per atom, over the volume relative to that of the step


class Bent:
    """A teacher with a step in its energy at some volume per atom."""

    def __init__(self, teacher, volume):
        self.teacher, self.volume = teacher, volume
        self.fingerprint, self.properties = teacher.fingerprint, teacher.properties

    def label(self, structures):
        return [self._bent(s, a) for s, a in zip(structures, self.teacher.label(structures), strict=True)]

    def _bent(self, structure, labels):
        if not structure.pbc.all():
            return labels
        beyond = np.tanh((structure.volume / len(structure) / self.volume - 1) / WIDTH)
        energy = labels.energy + len(structure) * HEIGHT_EV * beyond
        slope = HEIGHT_EV * (1 - beyond**2) / (WIDTH * self.volume)  # dE/dV
        return replace(labels, energy=energy, stress=labels.stress + slope * np.eye(3))


@pytest.fixture
def crystal(labelled):
    return next(s for s in labelled if s.pbc.all())


@pytest.fixture
def siblings(crystal, labelled, lj):
    """The data, and two siblings of a crystal on both sides of a step of the teacher's energy."""
    teacher = Bent(lj, crystal.volume / len(crystal))
    scaled = [
        crystal.with_(id=f"bent-{k}", cell=edge * crystal.cell, positions=edge * crystal.positions)
        for k, edge in enumerate((0.99, 1.01))
    ]
    others = [s for s in labelled if s.family != crystal.family]
    structures = [*others, *scaled]
    labels = teacher.label(structures)
    return teacher, [s.with_(labels=a) for s, a in zip(structures, labels, strict=True)]


def energy_work(structures, build, teacher):
    report, _ = audit(open_dataset(build(structures)), GATES, teacher=teacher, seed=3)
    return next(f for f in report["findings"] if f["check"] == "energy_work")


def test_a_bend_of_the_teacher_is_a_warning(siblings, build):
    teacher, structures = siblings
    found = energy_work(structures, build, lambda: teacher)
    assert found["verdict"] == "WARN"
    assert found["measured"] > GATES.max_energy_work_ratio
    assert "smaller steps" in found["why"]


def test_without_a_teacher_it_is_no_go(siblings, build):
    _, structures = siblings
    assert energy_work(structures, build, None)["verdict"] == "NO_GO"


@pytest.mark.parametrize("off", [-0.2, 0.1])  # eV per atom
def test_a_wrong_energy_beside_a_bend_is_no_go(siblings, build, off):
    teacher, structures = siblings
    *others, last = structures
    wrong = last.with_(labels=replace(last.labels, energy=last.labels.energy + off * len(last)))
    assert energy_work([*others, wrong], build, lambda: teacher)["verdict"] == "NO_GO"


def test_a_teacher_whose_stress_is_no_slope_is_no_go(siblings, build):
    bent, structures = siblings

    class Wrong(Bent):
        def _bent(self, structure, labels):
            return replace(super()._bent(structure, labels), stress=labels.stress)  # the step is missing in it

    teacher = Wrong(bent.teacher, bent.volume)
    *others, low, high = structures
    stored = [s.with_(labels=a) for s, a in zip((low, high), teacher.label([low, high]), strict=True)]
    assert energy_work([*others, *stored], build, lambda: teacher)["verdict"] == "NO_GO"


def test_the_way_leads_from_one_to_the_other(crystal):
    rng = np.random.default_rng(0)
    strain = np.eye(3) + 0.02 * rng.uniform(-1, 1, (3, 3))
    fractional = crystal.positions @ np.linalg.inv(crystal.cell)
    moved = np.mod(fractional + rng.uniform(-0.01, 0.01, fractional.shape), 1.0)  # some atoms on the other side
    other = crystal.with_(cell=crystal.cell @ strain, positions=moved @ crystal.cell @ strain)
    path = between(crystal, other, 4)
    assert len(path) == 5
    assert all(s.labels is None for s in path)
    np.testing.assert_allclose(path[0].positions, crystal.positions)
    np.testing.assert_allclose(path[-1].cell, other.cell)
    apart = (path[-1].positions - other.positions) @ np.linalg.inv(other.cell)
    apart = apart - apart[0]
    np.testing.assert_allclose(apart, np.round(apart), atol=1e-9)
    steps = np.diff([s.positions @ np.linalg.inv(s.cell) for s in path], axis=0)
    np.testing.assert_allclose(steps, np.broadcast_to(steps[:1], steps.shape), atol=1e-9)


def test_the_way_in_a_slab_crosses_the_boundary_of_the_cell_and_not_the_vacuum():
    first = slab()
    moved = first.positions.copy()
    moved[0] += 0.1
    moved[-1] += first.cell[0] - first.cell[1]  # by lattice vectors of the layer
    path = between(first, first.with_(positions=moved), 4)
    assert np.abs(path[2].positions - first.positions).max() < 0.2
    np.testing.assert_allclose(path[4].positions[0] - path[4].positions[1], moved[0] - moved[1])
    assert (path[2].pbc == first.pbc).all()
    np.testing.assert_allclose(path[2].cell, first.cell)


def test_the_way_of_a_molecule_is_straight(labelled):
    molecule = next(s for s in labelled if not s.pbc.any())
    other = molecule.with_(positions=molecule.positions + np.random.default_rng(1).normal(0, 0.1, (len(molecule), 3)))
    path = between(molecule, other, 2)
    np.testing.assert_allclose(path[1].positions, (molecule.positions + other.positions) / 2)
    assert isinstance(molecule.labels, Labels)
