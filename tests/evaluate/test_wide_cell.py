"""Errors that only a wide cell shows, with EMT copper."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from potstill.core.types import Structure
from potstill.evaluate.gates import GATES
from potstill.evaluate.wide_cell import SMALL, wide_cell, widest
from potstill.testing import ethanol

ATOMS = 8
COPPER = Structure.from_ase(bulk("Cu", "fcc", a=3.6, cubic=True) * (2, 1, 1))


class Learned(EMT):
    """EMT with errors of the forces by the number of atoms: a share of each force."""

    def __init__(self, narrow: float, wide: float) -> None:
        super().__init__()
        self.narrow, self.wide = narrow, wide

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.results["forces"] = self.results["forces"] * (1 + (self.narrow if len(self.atoms) == ATOMS else self.wide))


def measured(candidate, image_angstrom=5.0, structure=COPPER):
    (row,) = wide_cell(candidate, EMT(), structure, image_angstrom=image_angstrom, temperature_kelvin=300.0, seed=1)
    return row


def test_a_model_is_itself_in_any_cell():
    row = measured(EMT())
    assert row.measured == pytest.approx(0, abs=1e-9)
    assert "8 atoms with images at 3.6 Å against 16 with images at 5.1 Å" in row.why


@pytest.mark.parametrize(("narrow", "wide", "growth"), [(0.1, 0.1, 1.0), (0.1, 0.4, 4.0), (0.01, 0.02, 0.02 / SMALL)])
def test_the_growth_of_the_error(narrow, wide, growth):
    row = measured(Learned(narrow, wide))
    assert row.measured == pytest.approx(growth, rel=1e-6)
    assert (row.measured > GATES["wide_cell"].limit) == (wide > 3 * narrow)
    assert list(row.candidate.values()) == pytest.approx([narrow, wide])


def test_it_does_not_apply_where_images_are_far():
    assert not measured(EMT(), image_angstrom=3.0).applies
    large = Structure.from_ase(bulk("Cu", "fcc", a=3.6, cubic=True) * (5, 5, 6))
    row = measured(EMT(), image_angstrom=500.0, structure=large)
    assert not row.applies
    assert "more than 1,000 atoms" in row.why


def test_dynamics_that_explode_are_no_pass():
    assert measured(Learned(0.0, np.nan)).measured == np.inf


def test_the_cell_with_the_most_distant_images_is_judged(labelled):
    crystals = [s for s in labelled if s.pbc.all() and len(s) > 1]
    assert widest([ethanol()]) is None
    found = widest(labelled)
    assert found in crystals
