"""Any ASE calculator by ``module:callable``."""

from __future__ import annotations

import pytest

from potstill.core.errors import InputError
from potstill.core.types import Labels, Refused
from potstill.teacher import load_teacher
from potstill.teacher.choices import parse_teacher
from potstill.testing import check_teacher, copper, rattled, slab, water

LJ = {"calculator": "ase.calculators.lj:LennardJones", "options": {"sigma": 2.0, "rc": 5.0, "smooth": True}}


def test_the_kit():
    check_teacher(load_teacher("ase", **LJ), [rattled(copper()), rattled(slab()), water()])
    check_teacher(
        load_teacher("ase", calculator="ase.calculators.emt:EMT", elements=("Cu", "H", "O")), [rattled(copper()), water()]
    )


def test_the_same_as_the_built_in_one():
    named, built_in = load_teacher("ase", calculator="ase.calculators.emt:EMT"), load_teacher("emt")
    structure = rattled(copper())
    assert named.label([structure])[0].energy == built_in.label([structure])[0].energy
    assert "ase 3" in named.fingerprint["version"]


def test_the_fingerprint_is_that_of_the_options_and_of_the_files_they_name(tmp_path):
    file = tmp_path / "weights.bin"
    file.write_bytes(b"one")

    def weights(**options) -> str:
        return load_teacher("ase", calculator="tests_calculators:make", options=options).fingerprint["weights"]

    (tmp_path / "tests_calculators.py").write_text("def make(**options):\n    return object()\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        assert weights(a=1, b=2) == weights(b=2, a=1) != weights(a=1, b=3)
        before = weights(path=str(file))
        assert before == weights(path=str(file))
        file.write_bytes(b"two")
        assert weights(path=str(file)) != before
        version = load_teacher("ase", calculator="tests_calculators:make").fingerprint["version"]
        assert version.startswith("tests_calculators sha256:")


def test_what_it_knows_and_gives():
    teacher = load_teacher("ase", **LJ, elements=("Cu",), stress=False)
    metal, water_ = teacher.label([copper(), water()])
    assert isinstance(metal, Labels)
    assert metal.stress is None
    assert isinstance(water_, Refused)
    assert water_.reason == "unsupported_element"
    assert parse_teacher({"name": "ase", **LJ}).conservative
    assert not parse_teacher({"name": "ase", **LJ, "direct_forces": True}).conservative


@pytest.mark.parametrize(
    ("calculator", "message"),
    [
        ("no_such_module:Thing", "no_such_module.*cannot be imported"),
        ("ase.calculators.emt:EMMT", "no 'EMMT' in.*did you mean 'EMT'"),
        ("ase.calculators.lj:LennardJones.default_parameters", "is a dict, expected a callable"),
        ("ase.calculators.emt", "pattern"),
        ("os:system('true')", "pattern"),
    ],
)
def test_names_that_are_no_calculators(calculator, message):
    with pytest.raises(InputError, match=f"(?s){message}"):
        load_teacher("ase", calculator=calculator)


def test_options_that_it_does_not_take():
    with pytest.raises(InputError, match=r"(?s)cannot be made with the options.*sigmaa.*keyword arguments"):
        load_teacher("ase", calculator="ase.calculators.harmonic:SpringCalculator", options={"sigmaa": 1.0})
