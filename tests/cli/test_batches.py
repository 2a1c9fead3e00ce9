"""A run in batches: each batch a decision, the whole the sum of its batches, whatever stops it."""

from __future__ import annotations

import json

import pytest
import yaml

from potstill.dataset import open_dataset
from potstill.run_folder import RunFolder

SOURCES = [
    {"source": "prototypes", "count": 24, "max_atoms": 12},
    {"source": "crystals", "count": 11, "max_atoms": 8},
    {"source": "perturb", "count": 25, "rattle_angstrom": [0.02, 0.08], "max_strain": 0.03},
]
GATES = {"min_structures_per_element": 1, "min_structural_entropy": 0.0, "min_share_of_asked": 0.7}
GENERATE = {"elements": ["Cu", "Al", "Ni", "O"], "sources": SOURCES}


@pytest.fixture
def config(write_config):
    return write_config(batches=[1, 2, 1], generate=GENERATE, audit=GATES)


def ids(path) -> list[str]:
    dataset = open_dataset(path)
    assert dataset.verify() == []
    return dataset.ids.tolist()


def test_the_whole_is_the_sum_of_its_batches(potstill, config, tmp_path):
    run = tmp_path / "run"
    outcome = potstill("run", config, "--out", run, "--yes")
    assert outcome.code == 0, outcome.err
    batches = RunFolder(run).batches()
    assert [batch.path.name for batch in batches] == ["01", "02", "03"]
    assert all(batch.passed() and batch.html("audit").exists() for batch in batches)
    assert [len(open_dataset(batch.path)) for batch in batches] == [15, 30, 15]
    whole = ids(run)
    assert whole == [name for batch in batches for name in ids(batch.path)]
    assert len(set(whole)) == 60
    assert json.loads((run / "audit.json").read_text())["verdict"] == "GO"
    for batch in batches:
        assert set(open_dataset(batch.path).sources) == {"prototypes", "crystals", "perturb"}
    shares = next(f for f in json.loads((run / "audit.json").read_text())["findings"] if f["check"] == "shares")
    assert shares["measured"] == 1.0
    status = potstill("status", run).out
    assert "3 of 3 batches GO" in status
    assert "batches" in (run / "report.html").read_text()
    again = potstill("run", config, "--out", run, "--resume", "--yes")
    assert again.code == 0
    assert again.err.count("done before") == 5
