"""What would mend a NO-GO: the source, the reason, and a config that can be run."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

from potstill.audit.options import AuditConfig
from potstill.audit.stage import audit, write_advice
from potstill.config import parse_config
from potstill.core.types import Refused
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
    rows, whole = advised(labelled, gates={**GATES, "min_size_cv": 0.9})
    assert rows["size_cv"]["change"]
    assert sum(s["count"] for s in whole["generate"]["sources"]) > 36


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
    rows, whole = advised(labelled, gates={**GATES, "max_force_ev_per_angstrom": 1.0})
    assert rows["force_limits"]["source"] == "organic"
    assert whole["label"]["max_force_ev_per_angstrom"] < 1.0


def test_stresses_beyond_the_limit_are_refused_when_labels_are_made(advised, labelled):
    rows, whole = advised(labelled, gates={**GATES, "max_stress_ev_per_cubic_angstrom": 1e-6})
    assert rows["stress_limits"]["source"] == "metals"
    assert whole["label"]["max_stress_ev_per_cubic_angstrom"] == 1e-6


def test_a_source_that_gave_too_little(advised, labelled):
    config = json.loads(json.dumps(CONFIG))
    config["generate"]["sources"][1]["count"] = 100
    rows, whole = advised(labelled, config=config)
    assert "metals gave 12 of 100" in rows["shares"]["why"]
    assert count_of(whole, "metals") == 12
    assert count_of(whole, "organic") > 24


def test_many_refusals_name_source_and_reason(advised, labelled):
    refused = [Refused("force_limit", id=f"r{k}", source="metals", stage="label") for k in range(9)]
    rows, whole = advised(labelled, refused=refused)
    assert rows["teacher_success"]["source"] == "metals"
    assert "force_limit" in rows["teacher_success"]["why"]
    assert whole["generate"]["filter"]["min_scaled_distance"] == 0.85


def test_what_no_config_mends_says_what_to_do(advised, labelled):
    rows, whole = advised(labelled, teacher=None, splits=np.arange(len(labelled)) // 12 % 3)
    assert whole is None
    assert "--teacher" in rows["label_replay"]["why"]
    assert "family" in rows["split_leakage"]["why"]
