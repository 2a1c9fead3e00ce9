"""A compiled student says what the student says, for any number of atoms and neighbours."""

import os
import shutil

import numpy as np
import pytest
import torch

from potstill.core.batch import make_batch
from potstill.core.errors import InputError
from potstill.core.types import Structure
from potstill.student.compiled import CompiledKernel, ElementGrid, _example, compile_student
from potstill.student.layer import ElementGroups
from potstill.testing import FLOAT32, all_structures, one_atom, random_student, rattled, rocksalt, water
from potstill.testing.models import in_elements

ELEMENTS = [1, 6, 8, 14]
SMALL = {"features": 8, "channels": 4, "vectors": 4, "products": 4, "hidden": 8, "radial": 3}


@pytest.mark.timeout(900)  # the compiler takes a minute of its core, which a busy machine stretches
@pytest.mark.parametrize(
    "sizes",
    [
        {**SMALL, "experts": 3},
        pytest.param({**SMALL, "experts": 1}, marks=pytest.mark.slow),
        pytest.param({**SMALL, "experts": 2, "l_max": 3, "layers": 3}, marks=pytest.mark.slow),
        pytest.param({"tier": "base"}, marks=pytest.mark.slow),
        pytest.param({**SMALL, "radial_distance": "relative"}, marks=pytest.mark.slow),
    ],
    ids=["experts", "no experts", "l = 3", "base", "relative distances"],
)
def test_compiled_is_eager(sizes, tmp_path):
    if not any(shutil.which(name) for name in (os.environ.get("CXX") or "c++ g++ clang++").split()):
        pytest.skip("there is no C++ compiler")
    student = random_student(ELEMENTS, backend="torch", **sizes).model
    kernel = CompiledKernel(compile_student(student, tmp_path / "student.pt2"), student)
    structures = [in_elements(rattled(s), ELEMENTS[k % 4 :] + ELEMENTS) for k, s in enumerate(all_structures())]
    large = in_elements(Structure.from_ase(rocksalt().to_ase().repeat(3)), ELEMENTS)
    for batch in ([large], structures, *([s] for s in structures), [in_elements(one_atom(), ELEMENTS)], [water()]):
        given = make_batch(batch, student.architecture.cutoff_angstrom)
        found, expected = student.predict(given, kernel=kernel), student.predict(given)
        atoms = given.ptr.diff()
        assert ((found.energy - expected.energy).abs() / atoms).max() < FLOAT32.energy
        assert (found.forces - expected.forces).abs().max() < FLOAT32.forces
        assert (found.stress - expected.stress).abs().max() < FLOAT32.stress


@pytest.mark.parametrize("species", [[0, 0, 0], [2, 0, 1, 0, 2, 2], [1, 3], [1]])
def test_a_grid_multiplies_like_groups(species):
    given = torch.tensor(species)
    rng = np.random.default_rng(1)
    x = torch.from_numpy(rng.normal(size=(len(species), 5)))
    matrices = torch.from_numpy(rng.normal(size=(4, 5, 3)))
    grid, groups = ElementGrid.of(given), ElementGroups.of(given)
    expected = torch.einsum("ni,nio->no", x, matrices[given])
    assert torch.allclose(grid.product(x, matrices[grid.present]), expected)
    assert torch.allclose(groups.product(x, matrices[groups.present]), expected)
    assert min(grid.occupant.shape) >= 2


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(InputError, match="pt2"):
        compile_student(random_student([1]).model, tmp_path / "student.so")


@pytest.mark.parametrize("elements", range(2, 12))
def test_no_two_free_sizes_of_the_traced_batch_are_alike(elements):
    student = random_student(list(range(1, elements + 1)), backend="torch", **SMALL, experts=elements).model
    vectors, neighbor, species, present, occupant, place = _example(student, grid=True)
    atoms, slots = neighbor.shape
    assert vectors.shape == (atoms, 3, slots)
    assert species.shape == place.shape == (atoms,)
    assert occupant.shape[0] == present.shape[0]
    assert len({atoms, slots, *occupant.shape, 3}) == 5
