"""Tiers set sizes; sizes are what the issue of a student is judged by."""

import pytest
from pydantic import ValidationError

from potstill.core.errors import InputError
from potstill.student.files import count_parameters
from potstill.student.model import Student
from potstill.student.options import SIZES, StudentArchitecture, StudentConfig, refuse_outside

RANGES = {"nano": (0.05, 0.5), "small": (0.7, 1.5), "base": (5.0, 8.0), "large": (10.0, 14.0), "xl": (20.0, 26.0)}


def test_a_tier_sets_the_sizes_and_each_can_be_set_by_itself():
    assert StudentConfig(tier="large").hidden == SIZES["large"]["hidden"]
    assert StudentConfig(tier="large", hidden=64).hidden == 64
    assert StudentConfig(tier="large", hidden=64).features == SIZES["large"]["features"]
    assert StudentConfig() == StudentConfig(tier="base")


@pytest.mark.parametrize("tier", SIZES)
def test_every_tier_sets_all_sizes(tier):
    config = StudentConfig(tier=tier)
    assert {name: getattr(config, name) for name in SIZES[tier]} == SIZES[tier]
    assert set(SIZES[tier]) == set(SIZES["base"])


@pytest.mark.parametrize("size", SIZES["base"])
def test_a_size_goes_before_the_tier(size):
    config = StudentConfig(tier="nano", **{size: 17})
    assert getattr(config, size) == 17
    assert all(getattr(config, name) == value for name, value in SIZES["nano"].items() if name != size)


def test_what_was_written_is_read_as_it_was():
    architecture = StudentArchitecture(tier="small", hidden=40, atomic_numbers=(1, 8))
    assert StudentArchitecture.model_validate(architecture.model_dump(mode="json")) == architecture


def test_an_unknown_tier_names_those_there_are():
    with pytest.raises(ValidationError) as caught:
        StudentConfig(tier="huge")
    assert all(tier in str(caught.value) for tier in (*SIZES, "huge"))


@pytest.mark.parametrize("wrong", [{"tier": None}, {"tier": 3}, {"hiden": 64}, {"layers": 0}, {"l_max": 4}, {"radial": 17}])
def test_a_wrong_option_is_refused_by_name(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        StudentConfig(**wrong)


def test_a_student_of_another_size_than_asked_for_is_refused():
    config = StudentConfig(tier="nano", parameters_between=(5e6, 2e7))
    with pytest.raises(InputError, match=r"0\.30 million .* 5 to 20 million[\s\S]*tier"):
        refuse_outside(config, 300_000)
    refuse_outside(config, 5_000_000)
    refuse_outside(StudentConfig(tier="nano"), 1)


@pytest.mark.parametrize("tier", SIZES)
@pytest.mark.parametrize("elements", [11, 94])
def test_a_tier_has_the_parameters_that_it_is_named_for(tier, elements):
    student = Student(StudentArchitecture(tier=tier, atomic_numbers=tuple(range(1, elements + 1))))
    least, most = RANGES[tier]
    assert least <= count_parameters(student) / 1e6 <= most
