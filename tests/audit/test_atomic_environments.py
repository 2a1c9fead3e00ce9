"""Vectors of atomic environments of atoms that no good structure has."""

from __future__ import annotations

import numpy as np

from potstill.audit.atomic_environments import entropy_bits, environments


def test_two_atoms_at_one_place_have_finite_environments():
    numbers, positions = np.array([29, 29, 13]), np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    rows = environments(numbers, positions, 10.0 * np.eye(3), np.ones(3, bool))  # warnings are errors
    assert np.isfinite(rows).all()
    assert np.isfinite(entropy_bits(rows))
