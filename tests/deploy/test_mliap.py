"""The ML-IAP class on what LAMMPS would bring: ghost atoms, pairs of owned atoms, exchanges between images."""

import numpy as np
import pytest
import torch

from potstill.core.errors import InputError
from potstill.core.neighbors import find_neighbors
from potstill.deploy.mliap import MliapStudent, save_mliap
from potstill.deploy.student import DeployedStudent
from potstill.testing import random_student, rattled, triclinic, water
from potstill.testing.models import TINY


class Process:
    """What one process of LAMMPS with Kokkos knows: owned atoms first, then ghosts, each an image of an owned atom."""

    def __init__(self, structure, cutoff, elements):
        found = find_neighbors(structure.positions, structure.cell, structure.pbc, cutoff)
        (i, j), shift = found.edge_index, found.edge_shift
        self.nlocal = len(structure)
        images = sorted({(b, *s) for b, s in zip(j, shift.tolist(), strict=True) if any(s)})
        ghost = {image: self.nlocal + k for k, image in enumerate(images)}
        self.owner = np.array([*range(self.nlocal), *(image[0] for image in images)])
        self.ntotal = len(self.owner)
        self.elems = np.array([elements.index(z) for z in structure.atomic_numbers[self.owner]])
        shuffled = np.random.default_rng(0).permutation(len(i))
        self.pair_i = i[shuffled]
        targets = [ghost.get((b, *s), b) for b, s in zip(j, shift.tolist(), strict=True)]
        self.pair_j = np.array(targets, dtype=int)[shuffled]
        rij = structure.positions[j] + shift @ structure.cell - structure.positions[i]
        self.rij = rij[shuffled]
        self.eatoms = np.zeros(self.nlocal)
        self.forces = np.zeros((self.nlocal, 3))
        self.virial = np.zeros((3, 3))
        self.exchanges = 0

    def forward_exchange(self, given, taken, width):
        assert given.shape == taken.shape == (self.ntotal, width)
        self.exchanges += 1
        taken.copy_(given[self.owner])

    def reverse_exchange(self, given, taken, width):
        assert given.shape == taken.shape == (self.ntotal, width)
        taken[: self.nlocal] = torch.zeros_like(given[: self.nlocal]).index_add(0, torch.from_numpy(self.owner), given)

    def update_pair_forces(self, fij):
        """LAMMPS: f[i] += fij, f[j] -= fij; forces on ghosts go home."""
        np.add.at(self.forces, self.pair_i, fij.numpy())
        np.add.at(self.forces, self.owner[self.pair_j], -fij.numpy())
        self.virial -= self.rij.T @ fij.numpy()


@pytest.mark.parametrize(
    "sizes", [{}, {"layers": 1}, {"layers": 3}, {"experts": 1, "vectors": 0}, {"radial_distance": "relative"}]
)
@pytest.mark.parametrize("make", [triclinic, water])
def test_energy_forces_and_virial_are_those_of_the_student(make, sizes):
    structure = rattled(make())
    plain = random_student([1, 8, 12], **{**TINY, **sizes})
    student = DeployedStudent(plain.model, plain.config, dtype=torch.float64)
    (expected,) = student.label([structure])
    process = Process(structure, student.cutoff_angstrom, [1, 8, 12])
    MliapStudent(student, ["H", "O", "Mg"]).compute_forces(process)
    assert process.energy == pytest.approx(expected.energy, abs=1e-10)
    assert process.eatoms.sum() == pytest.approx(expected.energy, abs=1e-10)
    assert np.allclose(process.forces, expected.forces, atol=1e-12)
    if expected.stress is not None:
        assert process.ntotal > process.nlocal
        assert np.allclose(process.virial, -expected.stress * structure.volume, atol=1e-10)
    assert process.exchanges == sum(1 + bool(layer.makes) for layer in list(student.model.layers)[:-1])


def test_without_exchange_more_than_one_layer_is_refused(monkeypatch):
    student = random_student([1, 8, 12])
    process = Process(rattled(triclinic()), student.cutoff_angstrom, [1, 8, 12])
    monkeypatch.delattr(Process, "forward_exchange")
    with pytest.raises(InputError, match="Kokkos"):
        MliapStudent(student, ["H", "O", "Mg"]).compute_forces(process)


def test_unknown_element_is_refused():
    with pytest.raises(InputError, match="not trained on Fe"):
        MliapStudent(random_student([1, 8]), ["O", "Fe"])


def test_file_holds_the_whole_model(tmp_path):
    student = random_student([1, 8, 12])
    save_mliap(student, ["H", "O", "Mg"], tmp_path / "student.mliap.pt")
    loaded = torch.load(tmp_path / "student.mliap.pt", weights_only=False)
    a, b = (Process(rattled(triclinic()), student.cutoff_angstrom, [1, 8, 12]) for _ in range(2))
    MliapStudent(student, ["H", "O", "Mg"]).compute_forces(a)
    loaded.compute_forces(b)
    assert a.energy == b.energy
    assert np.array_equal(a.forces, b.forces)
