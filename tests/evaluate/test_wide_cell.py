"""Errors that only a wide cell shows, with EMT copper."""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from potstill.core.types import Structure
from potstill.evaluate.contents import is_hollow
from potstill.evaluate.gates import GATES
from potstill.evaluate.wide_cell import SMALL, typical, wide_cell
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
    large = Structure.from_ase(bulk("Cu", "fcc", a=3.6, cubic=True) * (4, 4, 5))
    row = measured(EMT(), image_angstrom=500.0, structure=large)
    assert not row.applies
    assert "more than 500 atoms" in row.why


def test_dynamics_that_explode_are_no_pass():
    assert measured(Learned(0.0, np.nan)).measured == np.inf


def test_errors_as_large_as_the_forces_tell_nothing_by_their_growth():
    row = measured(Learned(-1.0, -1.0))
    assert row.measured is None
    assert "as large as the forces" in row.why


def test_neither_a_wide_cell_nor_one_with_vacuum_hides_the_others(labelled):
    assert typical([ethanol()]) is None
    narrow = [s.with_(id=f"{k}") for k, s in enumerate(labelled) if s.pbc.all() and len(s) > 1 and not is_hollow(s)]
    calm = narrow[0].with_(labels=replace(narrow[0].labels, forces=0 * narrow[0].labels.forces))
    many = [calm.with_(id=f"calm {k}") for k in range(3)]
    wide = calm.with_(id="wide", cell=1.5 * np.asarray(calm.cell))
    vacuum = calm.with_(id="vacuum", cell=np.asarray(calm.cell) + np.diag([0.0, 0.0, 20.0]))
    found = typical([*narrow, *many, wide, vacuum])
    assert found is not None
    assert found.id.startswith("calm")
    assert is_hollow(vacuum)
