"""What needs a CUDA device: graphs, buckets, real sizes and long dynamics."""

import numpy as np
import pytest
import torch

from gpu_kit import assert_labels, in_float64, lively
from potstill.core.types import Structure
from potstill.deploy.student import DeployedStudent
from potstill.student.options import SIZES
from potstill.testing import all_structures, check_student, random_student, rattled
from potstill.testing.models import in_elements

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
ELEMENTS = [1, 6, 8, 14, 29]


def silicon(repeats: int) -> Structure:
    from ase.build import bulk

    return rattled(Structure.from_ase(bulk("Si", "diamond", a=5.43, cubic=True).repeat(repeats)))


@pytest.mark.parametrize("tier", SIZES)
def test_every_tier_is_pytorch_in_float64(tier):
    model = lively(ELEMENTS, tier=tier)
    structures = [in_elements(rattled(s), ELEMENTS[k % 5 :] + ELEMENTS) for k, s in enumerate(all_structures())]
    expected = in_float64(model, structures)
    student = DeployedStudent(model, {"elements": ["H", "C", "O", "Si", "Cu"]}, "cuda", backend="gpu")
    assert_labels(student.label(structures), expected, structures)


@pytest.mark.parametrize("sizes", [{"layers": 3, "l_max": 3}, {"layers": 1}, {"vectors": 0}, {"layers": 4}])
def test_every_shape_is_pytorch_in_float64(sizes):
    model = lively(ELEMENTS, tier="base", **sizes)
    structures = [in_elements(silicon(2), ELEMENTS), silicon(1)]
    expected = in_float64(model, structures)
    student = DeployedStudent(model, {"elements": ["H", "C", "O", "Si", "Cu"]}, "cuda", backend="gpu")
    assert_labels(student.label(structures), expected, structures)


def test_tall_tiles_and_other_numbers_of_atoms_compile_nothing_new():
    from potstill.student.gpu import products

    model = lively(ELEMENTS, tier="base")
    structures = [silicon(k) for k in (7, 8, 7, 6)]
    expected = [in_float64(model, [s]) for s in structures]
    student = DeployedStudent(model, {"elements": ["H", "C", "O", "Si", "Cu"]}, "cuda", backend="gpu")
    assert_labels(student.label(structures[:1]), expected[0], structures[:1])
    student.label([silicon(3)])
    known = sum(len(cache[0]) for cache in products.network.device_caches.values())
    for structure, answer in zip(structures, expected, strict=True):
        assert_labels(student.label([structure]), answer, [structure])
    student.label([silicon(4)])
    assert sum(len(cache[0]) for cache in products.network.device_caches.values()) == known


def test_the_kit_of_students_on_a_card():
    student = random_student([1, 8, 14])
    check_student(DeployedStudent(student.model, student.config, "cuda", backend="gpu"))


def test_twice_the_same_to_the_last_bit():
    student = DeployedStudent(lively(ELEMENTS, tier="base"), {"elements": []}, "cuda", backend="gpu")
    one, other = student.label([silicon(5)])[0], student.label([silicon(5)])[0]
    assert one.energy == other.energy
    assert np.array_equal(one.forces, other.forces)


def test_langevin_dynamics_holds_its_temperature():
    from potstill.student.gpu.dynamics import Dynamics

    model = random_student([14], tier="nano").model.to("cuda")
    model.scale.zero_()  # the repulsion alone: atoms that hardly meet, so that any temperature is that of a gas
    student = DeployedStudent(model, {"elements": ["Si"]}, "cuda", backend="gpu").gpu
    dynamics = Dynamics(student, [silicon(4)] * 2, temperature_kelvin=400.0, friction_per_fs=0.05, timestep_fs=1.0)
    dynamics.run(500)
    trace = dynamics.run(1000)
    temperature = trace.temperature_kelvin(np.array([512, 512])).mean()
    assert abs(temperature - 400.0) < 20.0
