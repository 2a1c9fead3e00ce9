"""What would mend a NO-GO: the source, the reason, and a config that can be run."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

from potstill.audit.options import AuditConfig
from potstill.audit.stage import audit, write_advice
from potstill.config import parse_config
from potstill.core.types import Labels, Refused
from potstill.dataset import open_dataset

GATES = {"min_element_entropy_bits": 1.5, "min_element_coverage": 6, "min_size_cv": 0.3, "replay_fraction": 1.0}
CONFIG = {
    "generate": {
        "elements": ["H", "C", "N", "O", "Al", "Ni", "Cu", "Ag"],
        "sources": [
            {"source": "molecules", "label": "organic", "count": 24},
            {"source": "crystals", "label": "metals", "count": 12},
        ],
    },
    "audit": GATES,
}


@pytest.fixture
def advised(build, lj, tmp_path):
    """Advice by check, and the mended config once it was found valid."""

    def run(structures, *, config=CONFIG, teacher=lambda: lj, gates=GATES, **written):
        path = build(structures, config=json.dumps(config), **written)
        report, _ = audit(open_dataset(path), AuditConfig(**gates), teacher=teacher, seed=3)
        write_advice(report, yaml.safe_dump(config), tmp_path / "advice.yaml")
        whole = (tmp_path / "advice.yaml").read_text() if (tmp_path / "advice.yaml").exists() else ""
        if whole:
            parse_config(yaml.safe_load(whole))
        return {row["check"]: row for row in report["advice"]}, yaml.safe_load(whole) if whole else None

    return run


def count_of(config, name):
    return next(s["count"] for s in config["generate"]["sources"] if s["label"] == name)


def test_a_good_dataset_needs_none(advised, labelled):
    assert advised(labelled) == ({}, None)


def test_sizes_too_much_alike(advised, labelled):
    rows, whole = advised(labelled, gates={**GATES, "min_size_cv": 0.419})
    assert rows["size_cv"]["change"]
    assert sum(s["count"] for s in whole["generate"]["sources"]) > 36
    assert whole["audit"]["min_size_cv"] == GATES["min_size_cv"]


def test_sizes_that_no_count_of_these_sources_spreads(advised, labelled):
    _, whole = advised(labelled, gates={**GATES, "min_size_cv": 0.9})
    assert whole["generate"] == CONFIG["generate"]
    assert 0.3 < whole["audit"]["min_size_cv"] < 0.5


def test_elements_that_are_allowed_and_missing(advised, labelled):
    rows, whole = advised([s for s in labelled if s.family not in {"Ag", "Cu"}], gates={**GATES, "min_element_coverage": 8})
    assert "Cu" in rows["element_coverage"]["why"]
    assert whole["generate"]["sources"] != CONFIG["generate"]["sources"]


def test_more_elements_than_are_allowed(advised, labelled):
    _, whole = advised(labelled, gates={**GATES, "min_element_coverage": 10})
    assert len(whole["generate"]["elements"]) == 10


def test_entropy_beyond_its_ceiling(advised, labelled):
    rows, whole = advised(labelled, gates={**GATES, "min_element_entropy_bits": 3.07})
    assert "log2" not in rows["element_entropy"]["why"]
    assert whole["audit"]["min_element_entropy_bits"] < 3.0


def test_forces_beyond_the_limit_are_refused_when_labels_are_made(advised, labelled):
    forces = labelled[20].labels.forces.copy()
    forces[0, 0] = 218.0
    strong = labelled[20].with_(labels=Labels(labelled[20].labels.energy, forces))
    rows, whole = advised([*labelled[:20], strong, *labelled[21:]])
    assert rows["force_limits"]["source"] == strong.source
    assert whole["label"]["max_force_ev_per_angstrom"] == pytest.approx(50.0 / 1.05, abs=0.01)


def test_a_limit_that_would_leave_too_few_labels_is_not_proposed(advised, labelled):
    rows, whole = advised(labelled, gates={**GATES, "max_force_ev_per_angstrom": 1.0})
    assert rows["force_limits"]["source"] == "organic"
    assert "label" not in whole
    assert whole["audit"]["max_force_ev_per_angstrom"] > 1.0


def test_stresses_beyond_the_limit_are_refused_when_labels_are_made(advised, labelled):
    k = next(k for k, s in enumerate(labelled) if s.source == "metals")
    old = labelled[k].labels
    squeezed = labelled[k].with_(labels=Labels(old.energy, old.forces, -3.1 * np.eye(3)))
    rows, whole = advised([*labelled[:k], squeezed, *labelled[k + 1 :]])
    assert rows["stress_limits"]["source"] == "metals"
    assert whole["label"]["max_stress_ev_per_cubic_angstrom"] == 3.0


def test_a_source_that_gave_too_little(advised, labelled):
    config = json.loads(json.dumps(CONFIG))
    config["generate"]["sources"][1]["count"] = 100
    rows, whole = advised(labelled, config=config)
    assert "metals made 12 of 100" in rows["shares"]["why"]
    assert count_of(whole, "metals") == 12
    assert count_of(whole, "organic") > 24


def test_files_of_the_user_are_not_asked_for_more_than_they_hold(advised, labelled, tmp_path):
    (tmp_path / "a.xyz").touch()
    files = {"source": "files", "paths": [str(tmp_path / "a.xyz")]}
    made = [{**s, **files} for s in CONFIG["generate"]["sources"]]
    config = {**CONFIG, "generate": {**CONFIG["generate"], "sources": made}}
    _, whole = advised(labelled, config=config, gates={**GATES, "min_size_cv": 0.419})
    assert [s["count"] for s in whole["generate"]["sources"]] == [24, 12]
    assert whole["audit"]["min_size_cv"] < 0.419


def test_advice_that_is_followed_already_is_not_given_again(advised, labelled):
    for families, told in (("composition", "set  generate.families: structure"), ("structure", "too few for a split")):
        config = {**CONFIG, "generate": {**CONFIG["generate"], "families": families}}
        rows, _ = advised(labelled[:4], config=config, splits=np.zeros(4))
        assert told in rows["split_leakage"]["why"]


def test_many_refusals_name_source_and_reason(advised, labelled):
    refused = [Refused("force_limit", id=f"r{k}", source="metals", stage="label") for k in range(12)]
    rows, whole = advised(labelled, refused=refused)
    assert rows["within_limits"]["source"] == "metals"
    assert "force_limit" in rows["within_limits"]["why"]
    assert whole["generate"]["filter"]["min_scaled_distance"] == 0.85


def test_refusals_that_no_count_mends_name_what_the_teacher_says(advised, labelled):
    both = ["metals", "organic"] * 9
    refused = [Refused("teacher_error", "no stress", id=f"r{k}", source=s, stage="label") for k, s in enumerate(both)]
    rows, whole = advised(labelled, refused=refused)
    assert whole is None
    assert "the teacher, which reports: no stress" in rows["teacher_success"]["why"]


def test_fewer_of_a_source_only_as_far_as_that_meets_the_gate(advised, labelled):
    refused = [Refused("teacher_error", id=f"r{k}", source="metals", stage="label") for k in range(2)]
    gates = {**GATES, "min_teacher_success": 0.96}
    rows, whole = advised(labelled, refused=refused, gates=gates)
    share = count_of(whole, "metals") / 12
    labelled_then, asked_then = 24 + 12 * share, 24 + 14 * share
    assert labelled_then / asked_then >= 0.96
    assert rows["teacher_success"]["source"] == "metals"


def test_three_elements_of_a_teacher_that_knows_three_cannot_pass_a_gate_of_nine(advised, labelled, lj):
    class Three:
        fingerprint, properties, label, elements = lj.fingerprint, lj.properties, lj.label, frozenset({1, 6, 8})

    config = json.loads(json.dumps(CONFIG))
    config["generate"]["elements"] = ["H", "C", "O"]
    few = [s for s in labelled if set(s.atomic_numbers.tolist()) <= {1, 6, 8}]
    _, whole = advised(few, config=config, teacher=Three, gates={**GATES, "min_element_coverage": 9})
    assert whole["generate"]["elements"] == ["H", "C", "O"]
    assert whole["audit"]["min_element_coverage"] == 3


def test_data_of_one_material_get_no_elements_that_nobody_asked_for(advised, labelled):
    config = json.loads(json.dumps(CONFIG))
    config["generate"]["elements"] = ["H", "O"]
    few = [s for s in labelled if set(s.atomic_numbers.tolist()) <= {1, 8}]
    _, whole = advised(few, config=config, gates={**GATES, "min_element_coverage": 5})
    assert whole["generate"]["elements"] == ["H", "O"]
    assert whole["audit"]["min_element_coverage"] == 2


def test_what_no_config_mends_says_what_to_do(advised, labelled):
    rows, whole = advised(labelled, teacher=None, splits=np.arange(len(labelled)) // 12 % 3)
    assert whole is None
    assert "--teacher" in rows["label_replay"]["why"]
    assert "family" in rows["split_leakage"]["why"]
