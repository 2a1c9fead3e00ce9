"""What a run folder says of itself, also half-way."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import yaml
from rich.console import Console

from potstill.config import parse_config
from potstill.core.errors import InputError
from potstill.core.types import Refused
from potstill.dataset import merge, write_part
from potstill.run.folder import RunFolder
from potstill.run.status import print_status, told
from potstill.run.upgrade import read_config


@pytest.fixture
def run(tmp_path, labelled) -> RunFolder:
    """Generated, and labelled as far as the twentieth structure of thirty-six."""
    run = RunFolder(tmp_path / "run")
    config = {"generate": {"sources": [{"source": "benchmark", "count": 36}]}, "label": {"teacher": {"name": "emt"}}}
    parse_config(config)
    run.begin(yaml.safe_dump(config), 1, resume=False)
    write_part(
        tmp_path / "p.h5", [s.with_(labels=None) for s in labelled], [Refused("too_close", source="s", stage="generate")]
    )
    merge([tmp_path / "p.h5"], run.structures, attributes={})
    run.set_stage("generate", "done", 100.0)
    run.set_stage("label", "running", 0.0)
    refused = [Refused("force_limit", id="x", source="s", stage="label")] * 2
    write_part(run.labelled_parts / "00000000-00000010.h5", labelled[:8], refused, labelled=True)
    write_part(run.labelled_parts / "00000010-00000020.h5", labelled[10:20], labelled=True)
    start = datetime(2024, 1, 1, tzinfo=UTC)
    with run.metrics.open("w") as file:
        for k in range(2):
            time = (start + timedelta(seconds=36 * k)).isoformat(timespec="milliseconds")
            line = {"time": time, "stage": "label", "labelled": 10 - 2 * (k == 0), "refused": 2 * (k == 0)}
            file.write(json.dumps(line) + "\n")
        file.write('{"time": "2024-01-01T00:0')  # a line that is being written
    return run


def said(run: RunFolder) -> str:
    console = Console(file=io.StringIO(), width=160)
    print_status(run.path, console)
    return console.file.getvalue()


def test_half_way(run):
    text = said(run)
    assert "36 of 36 structures" in text
    assert "20 of 36 structures, 1,000/hour, 58 s left" in text
    assert "killed" in text  # no process holds the folder
    with run.locked():
        assert "running" in said(run)
    assert text.count("waiting") == 4
    rows = [line.split("│") for line in text.splitlines() if "force_limit" in line or "too_close" in line]
    assert sorted((r[1].strip(), r[3].strip(), r[4].strip()) for r in rows) == [
        ("generate", "too_close", "1"),
        ("label", "force_limit", "2"),
    ]


def test_the_error_of_a_training_is_that_on_held_out_structures(run):
    epochs, train = read_config(run).train.epochs, partial(told, run, read_config(run), "train")
    assert train() == ""
    run.metrics.unlink()  # whose last line is being written
    run.log_metrics(stage="train", epoch=1, train_forces=0.8)
    assert f"epoch 1 of {epochs}, mean length of the force error 0.800 eV/Å on the training data" in train()
    run.log_metrics(stage="train", epoch=2, train_forces=0.7, valid_forces=0.25)
    run.log_metrics(stage="train", epoch=3, train_forces=0.6)  # not every epoch measures it
    assert f"epoch 3 of {epochs}, held-out mean length of the force error 0.250 eV/Å" in train()
    run.log_metrics(stage="active_learning", round=1, epoch=1, valid_forces=0.125)
    assert "held-out mean length of the force error 0.125 eV/Å" in train()  # that of the present student


def test_labelled_structures_do_not_count_those_that_the_teacher_refused(run, labelled):
    refused = [Refused("force_limit", id="y", source="s", stage="label")]
    write_part(run.labelled_parts / "00000020-00000036.h5", labelled[21:], refused, labelled=True)
    assert "36 of 36 structures" in said(run)  # asked so far
    merge(sorted(run.labelled_parts.glob("*.h5")), run.dataset, attributes={})
    run.set_stage("label", "done", 10.0)
    assert "33 of 36 structures" in said(run)
    (line,) = [line for line in said(run).splitlines() if "33 of 36" in line]
    assert "left" not in line
    assert "hour" not in line


def test_before_anything(tmp_path, run):
    fresh = RunFolder(tmp_path / "fresh")
    fresh.begin(run.config.read_text(), 1, resume=False)
    assert said(fresh).count("waiting") == 6


def test_no_run(tmp_path):
    with pytest.raises(InputError, match="is no run folder"):
        said(RunFolder(tmp_path))
