"""A run in batches: each batch a decision, the whole the sum of its batches, whatever stops it."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml

from potstill.config import dump_config, load_config
from potstill.core.errors import OutOfTimeError
from potstill.dataset import open_dataset
from potstill.run.context import Context
from potstill.run.folder import RunFolder
from potstill.run.pipeline import Pipeline
from potstill.run.progress import Progress

SOURCES = [
    {"source": "prototypes", "count": 24, "max_atoms": 12},
    {"source": "clusters", "count": 11, "max_atoms": 12},
    {"source": "perturb", "count": 25, "rattle_angstrom": [0.02, 0.08], "max_strain": 0.03},
]
GATES = {"min_structures_per_element": 1, "min_structural_entropy": 0.0, "min_share_of_asked": 0.7}
GENERATE = {"elements": ["Cu", "Al", "Ni", "O"], "sources": SOURCES}


@pytest.fixture
def config(write_config):
    return write_config(batches=[1, 2], generate=GENERATE, audit=GATES)


def ids(path) -> list[str]:
    dataset = open_dataset(path)
    assert dataset.verify() == []
    return dataset.ids.tolist()


def test_the_whole_is_the_sum_of_its_batches(potstill, config, tmp_path):
    run = tmp_path / "run"
    outcome = potstill("run", config, "--out", run, "--yes", "--last", "audit")
    assert outcome.code == 0, outcome.err
    batches = RunFolder(run).subruns()
    assert [batch.path.name for batch in batches] == ["01", "02"]
    assert all(batch.passed() and batch.html("audit").exists() for batch in batches)
    assert [len(open_dataset(batch.path)) for batch in batches] == [20, 40]
    whole = ids(run)
    assert whole == [name for batch in batches for name in ids(batch.path)]
    assert len(set(whole)) == 60
    assert open_dataset(run).attributes["created"] == json.loads((run / "run.json").read_text())["created"]
    assert json.loads((run / "audit.json").read_text())["verdict"] == "GO"
    for batch in batches:
        assert set(open_dataset(batch.path).sources) == {"prototypes", "clusters", "perturb"}
    shares = next(f for f in json.loads((run / "audit.json").read_text())["findings"] if f["check"] == "shares")
    assert shares["measured"] == 1.0
    status = potstill("status", run).out
    assert "2 of 2 batches GO" in status
    facts = json.loads(potstill("status", run, "--json").out)
    assert (facts["wanted"], facts["labelled"]) == (60, 60)
    counts = {row["source"]: (row["generated"], row["labelled"]) for row in facts["sources"]}
    assert counts == {"prototypes": (24, 24), "clusters": (11, 11), "perturb": (25, 25)}
    assert facts["refused"]
    assert 'potstill_labelled_structures{source="perturb"} 25' in (run / "metrics.prom").read_text()
    assert "batches" in (run / "report.html").read_text()
    again = potstill("run", config, "--out", run, "--resume", "--yes", "--last", "audit")
    assert again.code == 0
    assert again.err.count("done before") == 2
    shutil.rmtree(run / "batches" / "01")
    (row,) = [row for row in json.loads(potstill("status", run, "--json").out)["stages"] if row["stage"] == "batches"]
    assert row["progress"] == "1 of 2 batches GO, the folders of others are gone since they were merged"


def test_other_gates_judge_the_same_labels_again(potstill, config, tmp_path):
    run = tmp_path / "run"
    gates = yaml.safe_load(config.read_text())
    gates["audit"]["min_element_coverage"] = 5
    config.write_text(yaml.safe_dump(gates))
    outcome = potstill("run", config, "--out", run, "--yes")
    assert outcome.code == 3
    assert "batch 1 of 2: NO-GO" in outcome.err
    (following,) = [line for line in outcome.err.splitlines() if line.startswith("next: ")]
    assert "advice.yaml" in following
    assert f"--out {run} --resume" in following
    assert not (run / "dataset.h5").exists()
    assert not (run / "batches" / "02").exists()
    parts = {path: path.stat().st_mtime_ns for path in (run / "batches" / "01" / "label").iterdir()}
    assert parts
    assert yaml.safe_load((run / "advice.yaml").read_text())["batches"] == [1, 2]
    status = potstill("status", run).out
    assert "NO-GO" in status
    assert "0 of 2 batches GO" in status
    gates["audit"]["min_element_coverage"] = 3
    config.write_text(yaml.safe_dump(gates))
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump({**gates, "student": {"layers": 2}}))
    refused = potstill("run", other, "--out", run, "--resume", "--yes")
    assert refused.code == 2
    assert "differs from this config in audit, student" in refused.err
    outcome = potstill("run", config, "--out", run, "--resume", "--yes", "--hours", 0)
    assert outcome.code == 124
    assert "labelled so far" in outcome.err
    assert {path: path.stat().st_mtime_ns for path in parts} == parts
    assert ids(run) == ids(run / "batches" / "01")


def test_a_time_limit_while_labelling_leaves_what_is_labelled(write_config, tmp_path):
    config = load_config(write_config(label={"structures_per_task": 4}))
    run = RunFolder(tmp_path / "run")
    run.begin(dump_config(config), config.seed, resume=False)
    Pipeline(Context.start(config, run, Progress())).stage("generate")
    pipeline = Pipeline(Context.start(config, run, Progress(), until=0.0))
    with pytest.raises(OutOfTimeError, match="--resume"):
        pipeline.all_stages()
    assert run.stage("label")["state"] == "stopped"
    some = ids(run.path)
    assert 0 < len(some) < 46
    Pipeline(Context.start(config, run, Progress())).stage("label")
    assert len(ids(run.path)) == 46
    assert set(some) < set(ids(run.path))
