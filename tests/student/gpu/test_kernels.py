"""The GPU kernels say what PyTorch says in float64."""

import numpy as np
import pytest
import torch

from gpu_kit import ELEMENTS, SMALL, assert_labels, device, few, in_float64, lively
from potstill.core.types import Structure
from potstill.student.gpu import buffers
from potstill.student.gpu.session import GpuStudent
from potstill.testing import rattled, rocksalt
from potstill.testing.models import in_elements

SHAPES = {
    "two layers": {"experts": 3},
    "three layers, l = 3": {"layers": 3, "l_max": 3, "experts": 1},
    "one layer": {"layers": 1, "experts": 2, "radial": 5},
    "scalars only": {"vectors": 0, "experts": 2},
    "relative distances": {"radial_distance": "relative"},
    "wider than a block": {"channels": 70, "vectors": 37, "products": 33, "hidden": 70, "radial": 2, "experts": 1},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_gpu_is_pytorch(shape):
    model = lively(ELEMENTS, **{**SMALL, **SHAPES[shape]})
    structures = few()
    labels = GpuStudent(model.to(device())).label(structures)
    assert_labels(labels, in_float64(model, structures), structures)


def test_all_elements_and_tall_tiles(monkeypatch):
    monkeypatch.setattr(buffers, "TALL_FROM", 0)
    elements = list(range(1, 95))
    model = lively(elements, **SMALL, experts=4)
    chain = Structure(np.array([1, 94, 50, 7]), np.array([[0.0, 0, 0], [2.2, 0, 0], [0, 2.9, 0], [0, 0, 1.9]]))
    structures = [chain, in_elements(rattled(rocksalt()), [94, 3])]
    assert_labels(GpuStudent(model.to(device())).label(structures), in_float64(model, structures), structures)


def test_atoms_that_are_pushed_together_repel():
    model = lively([1, 79], **SMALL)
    pairs = [Structure(np.array([1, 79]), np.array([[0.0, 0, 0], [0.0, d, 0.0]])) for d in (0.05, 0.3, 1.4)]
    assert_labels(GpuStudent(model.to(device())).label(pairs), in_float64(model, pairs), pairs)


def test_twice_the_same_to_the_last_bit_and_what_is_no_number_stays_so():
    student, structures = GpuStudent(lively(ELEMENTS, **SMALL).to(device())), few()[:2]
    one, other = student.label(structures), student.label(structures)
    for first, second in zip(one, other, strict=True):
        assert first.energy == second.energy
        assert np.array_equal(first.forces, second.forces)
    layout, lattice = student.layout(structures), np.zeros((2, 3, 3))
    positions = np.concatenate([s.positions for s in structures])
    positions[0, 1] = np.nan
    found, _ = student.evaluate(layout, positions, lattice)
    assert np.isnan(found.energy[0])
    assert np.isfinite(found.energy[1])


def test_a_student_elsewhere_is_refused():
    with pytest.raises(Exception, match="float32 on a CUDA device"):
        GpuStudent(lively([1], **SMALL).to(torch.float64))
