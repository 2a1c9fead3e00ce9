"""Symbols and atomic numbers."""

from __future__ import annotations

import pytest

from potstill.core.elements import atomic_numbers_of, symbols_of
from potstill.core.errors import InputError


def test_symbols_of():
    assert symbols_of([8, 1, 1, 17]) == ["H", "O", "Cl"]


def test_atomic_numbers_of():
    assert atomic_numbers_of(["H", "Cl", "H"]) == [1, 17, 1]
    for nonsense in ("X", "Clx", ""):
        with pytest.raises(InputError, match=f"no element named '{nonsense}'"):
            atomic_numbers_of([nonsense])
