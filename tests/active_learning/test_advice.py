"""Advice after active learning that did not meet its gate: the unmet gate with its figures, and what would help."""

from __future__ import annotations

import pytest

from potstill.active_learning.advice import how_it_broke, unmet, what_would_help


def report(number: int, mae: float | None, *, ended: str = "finished", by_temperature=()) -> dict:
    trajectories = [
        {"temperature_kelvin": kelvin, "length_ps": ps, "ended": end}
        for kelvin, ps, end in ((300.0, 2.0, "finished"), (900.0, 0.41, ended))
    ]
    broken = int(ended != "finished")
    return {
        "round": number,
        "passed": mae is not None and mae <= 0.1 and not broken,
        "forces": {"mae": mae, "limit": 0.1},
        "broken_trajectories": broken,
        "trajectories": trajectories,
        "by_temperature": [{"kelvin": kelvin, "mae": error} for kelvin, error in by_temperature],
    }


@pytest.mark.parametrize("reports", [[], [report(1, 0.3), report(2, 0.05)]])
def test_nothing_is_said_where_the_gate_is_met(reports):
    assert unmet(reports) == ""


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (report(2, 0.25), "was 0.25 eV/Å in round 2, active_learning.max_force_error_ev_per_angstrom is 0.1"),
        (report(2, 0.25, ended="failed"), "(positions were no longer numbers after 0.41 ps at 900 K)"),
        (report(2, None), "no frame of the student's own MD could be judged in round 2"),
        (report(2, None, ended="exploded"), "(a force or the temperature left its limits after 0.41 ps at 900 K)"),
        (
            report(2, 0.05, ended="too_close"),
            "in round 2, 1 of 2 trajectories broke off (atoms came too close after 0.41 ps at 900 K)",
        ),
    ],
)
def test_the_unmet_gate_is_named(last, said):
    assert unmet([report(1, 0.3), last]).endswith(said)


@pytest.mark.parametrize(
    ("errors", "last", "said"),
    [
        ([0.5, 0.3], {}, "raise active_learning.max_rounds"),
        ([0.3, 0.3], {}, "student.tier"),
        ([0.3, 0.3], {"ended": "exploded"}, "broke off at 900 K"),
        ([0.3, 0.3], {"by_temperature": [(300.0, 0.1), (900.0, 0.5)]}, "largest at 900 K (0.5 eV/Å)"),
        ([0.3, 0.3], {"by_temperature": [(300.0, 0.3), (900.0, 0.31)]}, "student.tier"),
    ],
)
def test_what_would_help_follows_the_errors(errors, last, said):
    assert said in what_would_help([report(1, errors[0]), report(2, errors[1], **last)])


def test_the_first_of_many_broken_trajectories_are_named():
    trajectories = [{"temperature_kelvin": 300.0, "length_ps": 5.0 - k, "ended": "too_close"} for k in range(5)]
    said = how_it_broke({"trajectories": trajectories})
    assert said.startswith("5 of 5 trajectories broke off (atoms came too close after 1 ps at 300 K; ")
    assert said.endswith("after 3 ps at 300 K; 2 more)")
