"""Numbers that are printed in other units than they are kept in."""

from __future__ import annotations

import ase.units
import pytest

from potstill.core import units


def test_factors_are_those_of_ase():
    assert pytest.approx(1 / ase.units.GPa, rel=1e-6) == units.GPA_PER_EV_PER_CUBIC_ANGSTROM
    assert pytest.approx(ase.units.Bohr, rel=1e-6) == units.BOHR_ANGSTROM
    assert pytest.approx(ase.units.Hartree * ase.units.Bohr, rel=1e-6) == units.COULOMB_EV_ANGSTROM


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (89.4, "89 s"),
        (90, "2 min"),
        (3569, "59 min"),
        (3599, "1 h 00 min"),
        (3661, "1 h 01 min"),
        (47.99 * 3600, "47 h 59 min"),
        (48 * 3600, "2 d 0 h"),
        (11 * 86400, "11 d 0 h"),
    ],
)
def test_durations(seconds, text):
    assert units.duration(seconds) == text
