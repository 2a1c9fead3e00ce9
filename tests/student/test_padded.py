"""Padded batches: the student's numbers in every shape, and its derivatives by the weights without a second derivative."""

import copy

import pytest
import torch

from learning_kit import ELEMENTS, lively
from potstill.core.batch import make_batch
from potstill.core.types import Batch, Structure
from potstill.student.model import Prediction, Student
from potstill.student.padded import PaddedAtoms, energy_gradient, predicted, tiled, tiles_needed, weight_gradients
from potstill.testing import all_structures, one_atom, rattled, silicon, water
from potstill.testing.models import in_elements

SHAPES = {
    "nano": {"tier": "nano"},
    "base": {"tier": "base"},
    "odd sizes, l = 3": {
        "features": 11,
        "channels": 5,
        "vectors": 3,
        "products": 7,
        "hidden": 21,
        "experts": 3,
        "radial": 5,
        "layers": 3,
        "l_max": 3,
    },
    "scalars only": {"tier": "nano", "vectors": 0, "experts": 2},
    "relative distances": {"tier": "nano", "radial_distance": "relative"},
}
WEIGHTS_AGREE = 1e-3  # all derivatives by the weights, relative to their length; the docs quote it
ROOM = {"just enough": (1, 0, 0), "more of everything": (17, 5, 3)}


@pytest.fixture(scope="module")
def structures() -> list[Structure]:
    found = [in_elements(rattled(s), ELEMENTS[k % 5 :] + ELEMENTS) for k, s in enumerate(all_structures())]
    return [*found, in_elements(one_atom(), ELEMENTS)]


def padded(model: Student, batch: Batch, room: tuple[int, int, int]) -> PaddedAtoms:
    """The same batch with more atoms, slots and tiles; the padding contains odd values where none may matter."""
    more_atoms, more_slots, more_tiles = room
    vectors, neighbor, slot = model.pad(batch.edge_vectors, batch)
    n, s = len(batch.atomic_numbers), len(batch)
    own = torch.arange(n + more_atoms)[:, None].repeat(1, neighbor.shape[1] + more_slots)
    occupied = torch.zeros_like(own, dtype=torch.bool)
    taken = torch.zeros(neighbor.numel(), dtype=torch.bool).index_fill(0, slot, value=True)
    occupied[:n, : neighbor.shape[1]] = taken.view_as(neighbor)
    wide = vectors.new_full((n + more_atoms, 3, own.shape[1]), 2.0 * model.architecture.cutoff_angstrom)
    wide[:n, :, : neighbor.shape[1]] = vectors
    own[:n, : neighbor.shape[1]] = torch.where(occupied[:n, : neighbor.shape[1]], neighbor, own[:n, :1])
    species = model.species_of[batch.atomic_numbers]
    volume = torch.linalg.det(batch.cell.double()).abs().to(vectors.dtype)
    counts = torch.bincount(species, minlength=len(ELEMENTS))
    return PaddedAtoms(
        species=torch.cat([species, species.new_full((more_atoms,), 2)]),
        structure=torch.cat([batch.structure, batch.structure.new_full((more_atoms,), s)]),
        neighbor=own,
        occupied=occupied,
        vectors=wide,
        volume=torch.cat([torch.where(batch.periodic, volume, 1.0), volume.new_ones(1)]),
        periodic=torch.cat([batch.periodic, batch.periodic.new_zeros(1)]),
        tiles=int(tiles_needed(counts)) + more_tiles,
    )


def loss_of(found: Prediction, structures: int, atoms: int) -> torch.Tensor:
    """Energies, forces, stress and local energies, each pulled to a place of its own."""
    forces = found.forces[:atoms]
    place = torch.linspace(-1.0, 1.0, forces.numel(), dtype=forces.dtype).view_as(forces)
    return (
        0.5 * (found.energy[:structures] - 3.0).abs().mean()
        + (forces - place).norm(dim=1).mean()
        + 2.0 * (found.stress[:structures] - 0.1).square().mean()
        + 0.3 * (found.local_energies[:atoms] - 0.2).abs().mean()
    )


@pytest.mark.parametrize("room", ROOM.values(), ids=ROOM)
@pytest.mark.parametrize("sizes", SHAPES.values(), ids=SHAPES)
def test_the_prediction_is_that_of_the_student(sizes, room, structures):
    model = lively(**sizes)
    batch = make_batch(structures, model.architecture.cutoff_angstrom)
    expected = model.predict(batch)
    atoms = padded(model, batch, room)
    found = predicted(model, atoms, *energy_gradient(model, atoms))
    n, s = len(batch.atomic_numbers), len(batch)
    assert (found.energy[:s] - expected.energy).abs().max() < 1e-4
    assert (found.forces[:n] - expected.forces).abs().max() < 1e-4
    assert not found.forces[n:].any()
    assert (found.stress[:s] - expected.stress).abs().max() < 1e-6
    assert not found.stress[s:].any()
    assert (found.local_energies[:n] - expected.local_energies).abs().max() < 1e-5


@pytest.mark.parametrize("room", ROOM.values(), ids=ROOM)
@pytest.mark.parametrize("sizes", SHAPES.values(), ids=SHAPES)
def test_derivatives_by_all_weights_are_those_of_second_derivatives(sizes, room, structures):
    model = lively(**sizes)
    batch = make_batch(structures, model.architecture.cutoff_angstrom)
    n, s = len(batch.atomic_numbers), len(batch)
    atoms = padded(model, batch, room)
    parts = [part.requires_grad_() for part in energy_gradient(model, atoms)]
    by = torch.autograd.grad(loss_of(predicted(model, atoms, *parts), s, n), parts)
    names, weights = zip(*model.named_parameters(), strict=True)
    found = weight_gradients(model, atoms, weights, *by)
    exact = copy.deepcopy(model).double()
    exact.reference_energies = model.reference_energies
    double = make_batch(structures, model.architecture.cutoff_angstrom, dtype=torch.float64)
    loss_of(exact.predict(double, training=True), s, n).backward()
    expected = [torch.zeros_like(p) if p.grad is None else p.grad for p in exact.parameters()]
    largest = max(float(e.abs().max()) for e in expected)
    for name, got, value in zip(names, found, expected, strict=True):
        assert (got - value).norm() <= 5e-3 * value.norm() + 1e-5 * largest, name
    one, other = (torch.cat([g.double().flatten() for g in of]) for of in (found, expected))
    assert (one - other).norm() < WEIGHTS_AGREE * other.norm()


@pytest.mark.parametrize("seed", range(5))
def test_a_grid_of_fixed_size_multiplies_each_atom_by_the_matrix_of_its_element(seed):
    generator = torch.Generator().manual_seed(seed)
    species = torch.randint(0, 6, (150,), generator=generator)
    species[species == 3] = 4  # an element without atoms
    real = torch.rand(150, generator=generator) < 0.8
    x, matrices = torch.randn(150, 7, generator=generator), torch.randn(6, 7, 4, generator=generator)
    needed = int(tiles_needed(torch.bincount(species[real], minlength=6)))
    for tiles in (needed, needed + 9):
        grid = tiled(species, real, 6, tiles)
        found = grid.product(x, matrices[grid.present])
        expected = torch.einsum("ni,nio->no", x, matrices[species])
        assert (found - expected)[real].abs().max() < 1e-5
        assert torch.isfinite(found).all()


def test_twice_the_atoms_fit_into_the_tiles():
    species = torch.arange(5).repeat_interleave(torch.tensor([1, 16, 17, 33, 64]))
    tiles = int(tiles_needed(torch.bincount(species)))
    grid = tiled(species.repeat(2), torch.ones(2 * len(species), dtype=torch.bool), 5, tiles)
    assert sorted(grid.occupant[grid.occupant < 2 * len(species)].tolist()) == list(range(2 * len(species)))
    assert tiles == 1 + 1 + 2 + 3 + 4


def test_a_lone_atom_and_a_crystal_share_a_batch_of_one_shape():
    model = lively(tier="nano")
    first, second = ([in_elements(s, ELEMENTS) for s in some] for some in ([one_atom(), water()], [silicon()]))
    for some in (first, second):
        batch = make_batch(some, model.architecture.cutoff_angstrom)
        expected = model.predict(batch)
        atoms = padded(model, batch, (30 - len(batch.atomic_numbers), 60, 0))
        found = predicted(model, atoms, *energy_gradient(model, atoms))
        assert (found.forces[: len(expected.forces)] - expected.forces).abs().max() < 1e-4
