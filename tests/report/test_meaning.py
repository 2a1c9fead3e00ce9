"""Every gate belongs to a group and says what its failure means for a use."""

from __future__ import annotations

import pytest

from potstill.evaluate.gates import GATES, NO_TEACHER
from potstill.report.meaning import GROUPS, MEANINGS, counts_by_group, failure_of, grouped, meaning_of

ERRORS = ("force_error", "force_error_element", "softening", "force_direction", "energy_error", "stress_error", "nve")


def finding(check: str, verdict: str) -> dict:
    return {"check": check, "verdict": verdict, "measured": 1.0, "limit": 0.5, "unit": "%", "why": ""}


@pytest.mark.parametrize("check", [*GATES, *ERRORS])
def test_every_gate_has_a_meaning(check):
    group, text = MEANINGS[check]
    assert group in GROUPS
    assert len(text.split()) > 4


def test_the_gates_of_a_source_and_of_a_kind():
    assert meaning_of("force_error_salts") == ("errors", "do not trust structures like those of the source salts")
    assert meaning_of("nve_crystal") == MEANINGS["nve"]


def test_groups_count_what_applies_and_name_what_failed():
    found = grouped(
        {
            "findings": [
                finding("phonons", "NO_GO"),
                finding("bulk_modulus", "GO"),
                finding("surfaces", "DOES_NOT_APPLY"),
                finding("nvt", "NOT_RUN"),
                finding("vibrations", "DOES_NOT_APPLY"),
            ]
        }
    )
    assert [(g.name, g.passed, g.asked) for g in found] == [("solids", 1, 2), ("dynamics", 0, 1)]
    assert [f["check"] for f, _ in found[0].failed] == ["phonons"]


def test_molecules_alone_have_no_group_of_solids():
    """Gates that molecules have, too, belong to no group whose name is that of crystals."""
    own = ("force_error", "relaxed_positions", "vibrations", "torsions", "rdf", "nvt", "dimers", "nve_molecule")
    assert "solids" not in {group.name for group in grouped({"findings": [finding(check, "GO") for check in own]})}


def test_counts_by_group():
    assert counts_by_group([finding("nvt", "NOT_RUN"), finding("phonons", "NO_GO"), finding("rdf", "GO")]) == (
        "solids 1, dynamics 1"
    )


def test_a_group_names_what_the_data_lack():
    own = [finding("bulk_modulus", "GO"), finding("surfaces", "DOES_NOT_APPLY"), finding("torsions", "DOES_NOT_APPLY")]
    (group,) = grouped({"findings": own})
    assert (group.name, group.about, [u.checks for u in group.unjudged]) == (
        "solids",
        "Elasticity of crystals.",
        [("surfaces",)],
    )


def test_a_group_of_which_nothing_was_judged_is_there():
    own = [finding("force_error", "GO"), finding("phonons", "DOES_NOT_APPLY") | {"why": NO_TEACHER}]
    errors, solids = grouped({"findings": own})
    assert errors.about == "Forces beside the teacher's."
    assert (solids.asked, solids.about, [u.text for u in solids.unjudged]) == (
        0,
        "",
        ["there is no teacher to compare with: phonons"],
    )


def test_what_was_not_measured_is_not_said_to_be_off():
    skipped = {**finding("equilibrium_volume", "NOT_RUN"), "measured": None, "why": "no crystal"}
    (solids,) = [
        group for group in grouped({"findings": [skipped, finding("bulk_modulus", "GO")]}) if group.name == "solids"
    ]
    assert [text for _, text in solids.failed] == ["it was not measured, so nothing is known of it"]
    assert "volume" not in solids.about
    (failed,) = grouped({"findings": [finding("equilibrium_volume", "NO_GO")]})
    assert failed.failed[0][1] == MEANINGS["equilibrium_volume"][1]


def test_a_failure_names_its_first_structure_once():
    found = {**finding("forces", "NO_GO"), "why": "large forces", "worst": ["water-000003", "water-000007"]}
    line = "forces: 1 % against 0.5. large forces; first water-000003"
    assert failure_of(found) == line
    assert (
        failure_of({**found, "why": "large forces in water-000003"})
        == "forces: 1 % against 0.5. large forces in water-000003"
    )
    assert failure_of({**found, "worst": []}) == line.partition(";")[0]
