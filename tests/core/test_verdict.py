"""A figure with its limit; what is not finite or not measured never passes."""

import math

import pytest

from potstill.core.verdict import Verdict, at_least, at_most, not_run, overall_verdict, warned


@pytest.mark.parametrize(("measured", "low", "high"), [(1.0, "GO", "NO_GO"), (2.0, "GO", "GO"), (3.0, "NO_GO", "GO")])
def test_limits_hold_at_their_value(measured, low, high):
    assert at_most("x", measured, 2.0, "eV", "why").verdict == low
    assert at_least("x", measured, 2.0, "eV", "why").verdict == high


@pytest.mark.parametrize("measured", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_never_passes_and_is_no_warning(measured):
    for finding in (at_most("x", measured, 2.0, "eV", "why"), at_least("x", measured, 2.0, "eV", "why")):
        assert finding.verdict == Verdict.NO_GO
        assert finding.measured is None
        assert warned(finding).verdict == Verdict.NO_GO


def test_a_fault_can_be_a_warning():
    assert warned(at_most("x", 3.0, 2.0, "eV", "why")).verdict == Verdict.WARN
    assert warned(at_most("x", 1.0, 2.0, "eV", "why")).verdict == Verdict.GO
    assert warned(not_run("x", "eV", "why")).verdict == Verdict.NOT_RUN


def test_overall_needs_findings_that_all_passed():
    good, bad, missing = at_most("x", 1.0, 2.0, "", ""), at_most("x", 3.0, 2.0, "", ""), not_run("x", "", "")
    assert overall_verdict([]) == Verdict.NO_GO
    assert overall_verdict([good, warned(bad)]) == Verdict.GO
    assert overall_verdict([good, bad]) == overall_verdict([good, missing]) == Verdict.NO_GO
