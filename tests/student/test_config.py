"""Tiers set sizes; sizes are what the issue of a student is judged by."""

import pytest
from pydantic import ValidationError

from potstill.student.config import SIZES, StudentArchitecture, StudentConfig
from potstill.student.files import count_parameters
from potstill.student.model import Student

RANGES = {"nano": (0.05, 0.5), "small": (0.7, 1.5), "base": (5.0, 8.0), "large": (10.0, 14.0), "xl": (20.0, 26.0)}


def test_a_tier_sets_the_sizes_and_each_can_be_set_by_itself():
    assert StudentConfig(tier="large").hidden == SIZES["large"]["hidden"]
    assert StudentConfig(tier="large", hidden=64).hidden == 64
    assert StudentConfig(tier="large", hidden=64).features == SIZES["large"]["features"]
    assert StudentConfig() == StudentConfig(tier="base")


def test_an_unknown_tier_names_those_there_are():
    with pytest.raises(ValidationError, match="nano"):
        StudentConfig(tier="huge")


@pytest.mark.parametrize("tier", SIZES)
@pytest.mark.parametrize("elements", [11, 94])
def test_a_tier_has_the_parameters_that_it_is_named_for(tier, elements):
    student = Student(StudentArchitecture(tier=tier, atomic_numbers=tuple(range(1, elements + 1))))
    least, most = RANGES[tier]
    assert least <= count_parameters(student) / 1e6 <= most
