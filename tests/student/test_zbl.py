"""The short-range repulsion."""

import math

import pytest
import torch
from ase.data import covalent_radii

from potstill.student.basis import cutoff_envelope
from potstill.student.zbl import zbl_energy

PAIRS = [(1, 1), (6, 8), (29, 29), (1, 79), (92, 8)]


def energy(pair: tuple[int, int], distance: torch.Tensor) -> torch.Tensor:
    z_i, z_j = (torch.full(distance.shape, z) for z in pair)
    return zbl_energy(z_i, z_j, distance, 6.0)


def reach(pair: tuple[int, int]) -> float:
    return float(covalent_radii[list(pair)].sum())


@pytest.mark.parametrize("pair", PAIRS)
def test_repulsive_everywhere_inside_the_radii(pair):
    distance = torch.linspace(0.05, reach(pair) - 0.01, 200, dtype=torch.float64)
    values = energy(pair, distance)
    assert (values > 0).all()
    assert (values.diff() < 0).all()


@pytest.mark.parametrize("pair", PAIRS)
def test_vanishes_with_two_derivatives_at_the_sum_of_radii(pair):
    distance = torch.tensor([reach(pair)], dtype=torch.float64, requires_grad=True)
    value = energy(pair, distance)
    (first,) = torch.autograd.grad(value.sum(), distance, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), distance)
    for derivative in (value, first, second):
        assert abs(derivative.item()) < 1e-8
    just_inside = torch.tensor([reach(pair) - 1e-3], dtype=torch.float64)
    assert 0 < energy(pair, just_inside).item() < 1e-4


@pytest.mark.parametrize("pair", PAIRS)
def test_zero_beyond_the_radii(pair):
    distance = reach(pair) + torch.tensor([1e-6, 0.1, 1.0, 5.0], dtype=torch.float64)
    assert torch.equal(energy(pair, distance), torch.zeros(4, dtype=torch.float64))


@pytest.mark.parametrize("pair", PAIRS)
def test_slope_is_the_central_difference(pair):
    distance = torch.linspace(0.2, 1.1, 15, dtype=torch.float64) * reach(pair)
    distance.requires_grad_()
    (slope,) = torch.autograd.grad(energy(pair, distance).sum(), distance)
    h = 1e-5
    with torch.no_grad():
        expected = (energy(pair, distance + h) - energy(pair, distance - h)) / (2 * h)
    assert torch.allclose(slope, expected, rtol=1e-5, atol=1e-6)


def test_symmetric_in_the_elements():
    distance = torch.tensor([0.7, 1.0], dtype=torch.float64)
    assert torch.allclose(energy((6, 8), distance), energy((8, 6), distance), rtol=1e-14)


def test_bare_coulomb_where_nuclei_meet():
    distance = torch.tensor([1e-5], dtype=torch.float64)
    coulomb = 14.399645 * 29 * 29 / 1e-5
    assert energy((29, 29), distance).item() == pytest.approx(coulomb, rel=1e-3)


def test_published_value_far_inside_the_radii():
    """Universal screening function of ZBL (1985) at 0.1 Å between two gold nuclei, written out once more."""
    a = 0.8854 * 0.529177 / (2 * 79**0.23)
    x = 0.1 / a
    screening = 0.18175 * math.exp(-3.1998 * x) + 0.50986 * math.exp(-0.94229 * x)
    screening += 0.28022 * math.exp(-0.4029 * x) + 0.02817 * math.exp(-0.20162 * x)
    found = energy((79, 79), torch.tensor([0.1], dtype=torch.float64)).item()
    assert found == pytest.approx(14.399645 * 79**2 / 0.1 * screening, rel=1e-3)


def test_envelope_ends():
    x = torch.tensor([0.0, 0.5, 1.0, 2.0], dtype=torch.float64)
    assert cutoff_envelope(x)[0] == 1.0
    assert 0.0 < cutoff_envelope(x)[1] < 1.0
    assert cutoff_envelope(x)[2:].abs().max() == 0.0


def test_ends_at_the_cutoff_where_that_is_nearer_than_the_radii():
    caesium = torch.tensor([55])
    distance = torch.tensor([4.5 - 1e-3, 4.5, 4.6], dtype=torch.float64)
    values = zbl_energy(caesium, caesium, distance, 4.5)
    assert 0 < values[0] < 1e-6
    assert values[1:].tolist() == [0.0, 0.0]
