"""GFN2-xTB by tblite: the kit, its own calculator, and what it is not asked for."""

from __future__ import annotations

import numpy as np
import pytest

from potstill.core.types import Labels, Refused, Structure, Teacher
from potstill.teacher import load_teacher
from potstill.testing import check_teacher, ethanol, one_atom, rattled, rocksalt, slab, water

pytest.importorskip("tblite")


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    return load_teacher("xtb")


def test_the_kit(teacher):
    check_teacher(load_teacher("xtb", accuracy=1e-3), [rattled(water()), rattled(ethanol())])
    assert "stress" not in teacher.properties


def test_the_same_as_the_calculator_of_the_package(teacher):
    from tblite.ase import TBLite

    molecule = rattled(ethanol())
    atoms = molecule.to_ase()
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    (labels,) = teacher.label([molecule])
    assert labels.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-5)
    np.testing.assert_allclose(labels.forces, atoms.get_forces(), atol=1e-5)


def test_crystals_unknown_elements_and_fused_atoms_are_refused_alone(teacher):
    fused = Structure([1, 1], np.zeros((2, 3)))
    radon = one_atom().with_(atomic_numbers=[87])
    answers = teacher.label([rocksalt(), water(), fused, slab(), radon, water(), one_atom()])
    reasons = [a.reason if isinstance(a, Refused) else "" for a in answers]
    assert reasons == ["not_a_molecule", "", "teacher_error", "not_a_molecule", "unsupported_element", "", ""]
    assert "Too close" in answers[2].detail
    assert "Fr" in answers[4].detail
    assert answers[1].energy == pytest.approx(answers[5].energy, abs=1e-9)


def test_radicals_and_the_settings_count(teacher):
    radical = Structure([8, 1], [[0, 0, 0], [0, 0, 0.97]])
    (labels,) = teacher.label([radical])
    assert isinstance(labels, Labels)
    others = [load_teacher("xtb", **o) for o in ({"method": "GFN1-xTB"}, {"electronic_temperature_kelvin": 5000.0})]
    for other in others:
        assert dict(other.fingerprint) != dict(teacher.fingerprint)
        assert abs(other.label([radical])[0].energy - labels.energy) > 1e-4
    (refused,) = load_teacher("xtb", max_iterations=1).label([water()])
    assert isinstance(refused, Refused)
    assert refused.reason == "teacher_error"
