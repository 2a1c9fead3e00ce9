"""A structure is right or it is refused."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from ase.build import bulk

from potstill.core.batch import make_batch
from potstill.core.errors import StructureError
from potstill.core.types import Labels, Structure, Teacher, hill_formula

CUBE = np.eye(3) * 3.0


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"atomic_numbers": []}, "n >= 1"),
        ({"atomic_numbers": [[1]]}, r"shape \(n,\)"),
        ({"atomic_numbers": 1}, r"shape \(n,\)"),
        ({"positions": [0, 0, 0]}, "positions must have shape"),
        ({"positions": [[0, 0, 0], [1, 1, 1]]}, "positions must have shape"),
        ({"positions": np.zeros((1, 2))}, "positions must have shape"),
        ({"positions": [[0, 0, np.nan]]}, "not finite"),
        ({"positions": [[0, 0, np.inf]]}, "not finite"),
        ({"cell": np.full((3, 3), np.nan)}, "not finite"),
        ({"cell": [3, 3, 3]}, r"\(3, 3\)"),
        ({"pbc": True}, r"\(3,\)"),
        ({"atomic_numbers": [0]}, "1..118"),
        ({"atomic_numbers": [119]}, "1..118"),
        ({"atomic_numbers": [-1]}, "1..118"),
        ({"atomic_numbers": [257]}, "1..118"),
        ({"atomic_numbers": [6.5]}, "integers"),
        ({"atomic_numbers": [np.nan]}, "integers"),
        ({"pbc": [True, False, False]}, "no length"),
        ({"cell": np.ones((3, 3)), "pbc": [True] * 3}, "no volume"),
        ({"labels": Labels(0.0, np.zeros((2, 3)))}, r"forces must have shape \(1, 3\)"),
        ({"labels": Labels(0.0, np.zeros((1, 3)), np.zeros(6))}, r"stress must have shape \(3, 3\)"),
    ],
)
def test_what_cannot_be_a_structure_is_refused(fields, match):
    with pytest.raises(StructureError, match=match):
        Structure(**{"atomic_numbers": [1], "positions": [[0, 0, 0]], **fields})


def test_types_and_shapes():
    structure = Structure([8, 1.0], [[0, 0, 0], [1, 0, 0]], CUBE.tolist(), [1, 1, 0])
    assert structure.atomic_numbers.dtype == np.uint8
    assert structure.positions.dtype == structure.cell.dtype == np.float64
    assert structure.pbc.tolist() == [True, True, False]
    assert len(structure) == 2
    assert structure.volume == 0.0
    assert structure.with_(pbc=[True] * 3).volume == pytest.approx(27.0)


def test_it_owns_its_arrays():
    positions = np.zeros((1, 3))
    structure = Structure([1], positions, CUBE, [True] * 3)
    positions[:] = 5.0
    assert (structure.positions == 0.0).all()
    atoms = structure.to_ase()
    atoms.positions[:] = 7.0
    atoms.cell[:] = 1.0
    assert (structure.positions == 0.0).all()
    assert (structure.cell == CUBE).all()


def test_ase_and_back():
    atoms = bulk("Si", a=5.43) * (1, 2, 1)
    atoms.pbc = [True, False, True]
    again = Structure.from_ase(atoms, id="a", family="f").to_ase()
    assert again == atoms


def test_volume_of_a_left_handed_cell_is_positive():
    assert Structure([1], [[0, 0, 0]], CUBE[[1, 0, 2]], [True] * 3).volume == pytest.approx(27.0)


@pytest.mark.parametrize(
    ("numbers", "reduced", "formula"),
    [
        ([6] * 6 + [1] * 6, False, "C6H6"),
        ([8, 1, 1], False, "H2O"),
        ([13, 8, 13, 8, 8], True, "Al2O3"),
        ([29] * 4, True, "Cu"),
        ([1, 35, 6, 1, 1], False, "CH3Br"),
        ([1, 17], False, "ClH"),
    ],
)
def test_formulas_are_those_of_hill(numbers, reduced, formula):
    assert hill_formula(np.array(numbers), reduced=reduced) == formula


def test_a_supercell_has_the_formula_of_its_cell():
    cell = bulk("NaCl", "rocksalt", a=5.6)
    assert Structure.from_ase(cell).formula == Structure.from_ase(cell * 3).formula == "ClNa"


def test_batch_moves_floats_only():
    batch = make_batch([Structure([1, 1], [[0, 0, 0], [0.8, 0, 0]]), Structure([1], [[0, 0, 0]])], 2.0)
    moved = batch.to(dtype=torch.float64)
    assert len(batch) == len(moved) == 2
    assert moved.positions.dtype == moved.cell.dtype == moved.edge_shift.dtype == torch.float64
    assert moved.atomic_numbers.dtype == moved.edge_index.dtype == torch.int64
    assert moved.ptr.tolist() == [0, 2, 3]
    assert batch.positions.dtype == torch.float32


def test_protocols_are_seen_at_run_time(lj):
    assert isinstance(lj, Teacher)
    assert not isinstance(object(), Teacher)


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, potstill; sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'ase', 'h5py', 'pydantic')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_public_names_are_there():
    import potstill

    for name in potstill.__all__:
        assert getattr(potstill, name) is not None
    assert set(potstill.__all__) <= set(dir(potstill))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = potstill.nonsense


@pytest.mark.parametrize("moved", ["an atom", "a lattice vector"])
def test_lengths_that_no_structure_has_are_refused(moved):
    """As a file in the wrong unit has them; the neighbor search would end the process."""
    cell = np.diag([5.0, 5.0, 1e12 if moved == "a lattice vector" else 5.0])
    positions = [[0, 0, 0], [0, 1e12 if moved == "an atom" else 1.0, 0]]
    with pytest.raises(StructureError, match=rf"{moved} reaches 1e\+12 Å, expected at most 1e\+09 Å; check the unit"):
        Structure([1, 1], positions, cell, [True, True, True])
    assert len(Structure([1, 1], [[1e8, 0, 0], [1e8, 1, 0]])) == 2
