"""Gates that nothing was judged by are named with their reason."""

from __future__ import annotations

import pytest

from potstill.evaluate.gates import NO_TEACHER, OF_PAIRS, asked_of
from potstill.evaluate.options import EvaluateConfig
from potstill.report.unjudged import Unjudged, unjudged

EVERYTHING = [*asked_of("crystals", EvaluateConfig()), *asked_of("molecules", EvaluateConfig()), *OF_PAIRS, "stress_error"]


def report(kinds: tuple[str, ...] = ("crystals",), **skipped: str) -> dict:
    """A report in which every gate is met but for some that do not apply, each with its reason."""
    verdicts = [(name, "DOES_NOT_APPLY" if name in skipped else "GO", skipped.get(name, "")) for name in EVERYTHING]
    findings = [{"check": name, "verdict": verdict, "why": why} for name, verdict, why in verdicts]
    return {"findings": findings, "kinds": dict.fromkeys(kinds, True)}


def test_nothing_is_named_where_all_was_judged():
    assert unjudged(report()) == []


@pytest.mark.parametrize(
    ("check", "why", "reason"),
    [
        ("surfaces", "the training data contain no surfaces", "its data contain none"),
        ("phonons", NO_TEACHER, "there is no teacher to compare with"),
        ("surfaces", NO_TEACHER, "there is no teacher to compare with"),
        ("stress_error", "no held-out structure has a stress", "labels lack it"),
    ],
)
def test_a_gate_with_its_reason(check, why, reason):
    assert unjudged(report(**{check: why})) == [Unjudged(reason, (check,))]


def test_what_is_foreign_to_the_data_is_not_named():
    assert unjudged(report(torsions="the data contain no molecules")) == []
    assert unjudged(report(kinds=("molecules",), stress_error="no held-out structure has a stress")) == []


def test_gates_that_the_config_turned_off():
    found = report()
    found["findings"] = [f for f in found["findings"] if f["check"] not in ("rdf", "adf", "vdos", "pressure", "nvt")]
    (left,) = unjudged(found)
    assert left.short == "they were not asked for: rdf, adf, vdos, pressure and 1 more"
    assert left.text.endswith("pressure, nvt")
