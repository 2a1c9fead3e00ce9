"""The stress of a virial, and Voigt's order against ASE's."""

import numpy as np
import pytest
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress, voigt_notation

from potstill.core.stress import from_voigt, stress_of, to_voigt, to_voigt_matrix


def test_the_order_is_that_of_ase_and_comes_back():
    tensors = np.random.default_rng(0).normal(size=(4, 3, 3))
    tensors = tensors + tensors.transpose(0, 2, 1)
    assert np.array_equal(to_voigt(tensors), full_3x3_to_voigt_6_stress(tensors))
    assert np.array_equal(from_voigt(to_voigt(tensors)), tensors)
    assert np.array_equal(from_voigt(to_voigt(tensors[0])), voigt_6_to_full_3x3_stress(to_voigt(tensors[0])))


def test_another_order_is_told():
    assert from_voigt(np.arange(6.0), ("xx", "yy", "zz", "xy", "yz", "zx")).tolist() == [[0, 3, 5], [3, 1, 4], [5, 4, 2]]
    with pytest.raises(ValueError, match="each of xx, yy, zz, yz, xz, xy once"):
        from_voigt(np.arange(6.0), ("xx", "yy", "zz", "xy", "yx", "zx"))


def test_a_virial_is_a_stress_where_the_cell_has_a_volume():
    virial = np.diag([8.0, 16.0, 24.0])
    left_handed = np.diag([2.0, 2.0, -2.0])
    np.testing.assert_allclose(stress_of(virial, left_handed), np.diag([1.0, 2.0, 3.0]), rtol=1e-14)  # a determinant rounds
    assert stress_of(virial, np.diag([2.0, 2.0, 0.0])) is None


def test_a_stiffness_has_the_order_of_ase():
    tensor = np.random.default_rng(0).normal(size=(3, 3, 3, 3))
    expected = [full_3x3_to_voigt_6_stress((tensor[a, b] + tensor[b, a]) / 2) for a, b in voigt_notation]
    assert np.array_equal(to_voigt_matrix(tensor), expected)
