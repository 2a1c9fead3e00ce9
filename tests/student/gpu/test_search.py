"""The search on the card finds the pairs that the search on the host finds."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gpu_kit import ELEMENTS, SMALL, device, lively
from potstill.core.neighbors import find_neighbors
from potstill.core.types import Structure
from potstill.student.gpu import cells, launch
from potstill.student.gpu.layout import lattices, reciprocals
from potstill.student.gpu.session import GpuStudent, place
from potstill.testing import rattled, water

RADIUS = 4.0
SMALL_CELL = np.array([[2.3, 0, 0], [0.4, 2.6, 0], [0.3, -0.2, 7.0]])
CELLS = {
    "molecule": (np.zeros((3, 3)), [False] * 3),
    "crystal": (SMALL_CELL, [True] * 3),
    "slab": (SMALL_CELL, [True, False, True]),
    "wire": (SMALL_CELL, [False, True, False]),
    "large": (9.5 * np.eye(3), [True] * 3),
}


@pytest.fixture(params=[1, 10**9], ids=["in bins", "all pairs"])
def searched(request, monkeypatch):
    """The number of atoms from which one structure is searched in bins."""
    monkeypatch.setattr(launch, "BINS_FROM", request.param)


@pytest.mark.usefixtures("searched")
@pytest.mark.parametrize("kind", CELLS)
def test_search_is_that_of_the_host(kind):
    cell, pbc = CELLS[kind]
    rng = np.random.default_rng(3)
    positions = rng.uniform(-9, 9, (4, 3)) if kind == "large" else rng.uniform(-2, 3, (3, 3))
    structure = Structure(np.array(ELEMENTS[: len(positions)]), positions, cell, np.array(pbc))
    found = pairs_of([structure])[0]
    expected = find_neighbors(structure.positions, structure.cell, structure.pbc, RADIUS)
    assert found == sorted_pairs(expected.edge_index, expected.edge_shift)


def test_structures_side_by_side_do_not_meet():
    structures = [water(), rattled(water())]
    together = pairs_of(structures)
    assert together == [pairs_of([s])[0] for s in structures]


@pytest.mark.usefixtures("searched")
def test_no_candidate_is_written_beyond_the_room():
    crystal = Structure(np.array([14]), np.zeros((1, 3)), 2.4 * np.eye(3), np.ones(3, bool))
    student = GpuStudent(lively(ELEMENTS, **SMALL).to(device()))
    slot = student.new_slot(student.layout([crystal]), RADIUS)
    slot.program.bucket = replace(slot.program.bucket, edges=5)
    slot.program.sender.fill_(-1)
    run_search(student, slot, [crystal])
    assert int(slot.program.outputs.status[1]) == 18
    assert slot.program.sender[:7].tolist() == [0] * 5 + [-1] * 2
    assert slot.program.first[:2].tolist() == [0, 5]


def test_more_candidates_than_room_are_told():
    crystal = Structure(np.array([14]), np.zeros((1, 3)), 2.4 * np.eye(3), np.ones(3, bool))
    student = GpuStudent(lively(ELEMENTS, **SMALL).to(device()))
    slot = student.new_slot(student.layout([crystal]), 15.0)
    run_search(student, slot, [crystal])
    wanted = int(slot.program.outputs.status[1])
    expected = find_neighbors(crystal.positions, crystal.cell, crystal.pbc, 15.0)
    assert wanted == expected.edge_index.shape[1] > slot.program.bucket.edges / 4
    assert int(slot.program.first[1]) == min(wanted, slot.program.bucket.edges)


@pytest.mark.parametrize("pbc", [(1, 1, 1), (1, 1, 0), (0, 1, 0)])
def test_bins_divide_a_large_structure(pbc, monkeypatch):
    """A skewed cell of several bins, atoms outside of it, and atoms on the border of bins."""
    monkeypatch.setattr(launch, "BINS_FROM", 1)
    rng = np.random.default_rng(5)
    cell = np.array([[9.0, 0, 0], [-2.0, 8.8, 0], [2.5, 1.5, 13.0]])
    positions = rng.uniform(-1.0, 2.0, (12, 3)) @ cell if all(pbc) else rng.uniform(0.0, 1.0, (12, 3)) @ cell
    positions[:4] = np.array([[0, 0, 0], [1, 1, 1], [0.5, 0.5, 0], [0.5, 0, 1 / 3]]) @ cell
    structure = Structure(np.tile(ELEMENTS[:4], 3), positions, cell, np.array(pbc, bool))
    (found,) = pairs_of([structure])
    expected = find_neighbors(structure.positions, structure.cell, structure.pbc, RADIUS)
    assert len(found) > 8
    assert found == sorted_pairs(expected.edge_index, expected.edge_shift)


@pytest.mark.parametrize(
    ("box", "grid"), [((40, 40, 40), (4, 4, 4)), ((9, 9, 2000), (1, 1, 64)), ((1e5, 90, 4), (16, 4, 1))]
)
def test_there_are_no_more_bins_than_atoms(box, grid):
    length = torch.tensor(box, dtype=torch.float64)
    found = cells._grid(length, 5.0, 64)
    assert found.prod() <= 64
    assert (length / found >= 5.0).all() or (found == 1).any()
    assert found.prod() >= torch.tensor(grid).prod() / 2


def run_search(student, slot, structures):
    layout = student.layout(structures)
    layout.write(slot.given, slot.program.bucket)
    lattice = lattices(structures)
    place(slot, np.concatenate([s.positions for s in structures]), lattice, reciprocals(lattice))
    slot.program.inputs.memory.copy_(slot.given.memory)
    slot.program.search()
    return layout


def pairs_of(structures):
    student = GpuStudent(lively(ELEMENTS, **SMALL).to(device()))
    slot = student.new_slot(student.layout(structures), RADIUS)
    layout = run_search(student, slot, structures)
    program = slot.program
    n, order, wraps = layout.atoms, layout.order, program.wraps.cpu().numpy()
    first = program.first.cpu().numpy()[: n + 1]
    receiver = np.repeat(np.arange(n), np.diff(first))
    sender, packed = program.sender.cpu().numpy()[: first[-1]], program.shift.cpu().numpy()[: first[-1]]
    shift = np.stack([packed & 1023, (packed >> 10) & 1023, (packed >> 20) & 1023], 1) - 512
    shift = shift - wraps[sender] + wraps[receiver]
    answers = []
    for k in range(len(structures)):
        mine = layout.structure[receiver] == k
        index = np.stack([order[receiver[mine]], order[sender[mine]]]) - layout.ptr[k]
        answers.append(sorted_pairs(index, shift[mine]))
    return answers


def sorted_pairs(index, shift):
    return sorted(map(tuple, np.concatenate([index, shift.T]).T.tolist()))
