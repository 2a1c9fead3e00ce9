"""What a config needs and this machine lacks is told before a run begins, with the command that mends it."""

from __future__ import annotations

import pytest
import yaml


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("POTSTILL_HOME", str(tmp_path / "home"))
    sources = [{"source": "mattergen", "count": 5}, {"source": "moldiff", "count": 5}]
    data = {"generate": {"sources": sources}, "label": {"teacher": {"name": "lennard-jones"}}}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


@pytest.mark.parametrize("command", ["check", "plan"])
def test_an_environment_that_was_never_made(potstill, config, command):
    outcome = potstill(command, config)
    assert outcome.code == 2
    said = outcome.out + outcome.err
    for name in ("mattergen", "moldiff"):
        assert f"the source '{name}' has no environment" in said
        assert f"potstill setup {name}" in said


def test_a_run_does_not_begin(potstill, config, tmp_path):
    for command in ("run", "generate"):
        outcome = potstill(command, config, "--out", tmp_path / "run")
        assert outcome.code == 2
        assert "potstill setup mattergen" in outcome.err


def test_an_unknown_environment(potstill):
    outcome = potstill("setup", "mol-diff")
    assert outcome.code == 2
    assert "did you mean 'moldiff'?" in outcome.err


def test_files_that_are_not_there(potstill, tmp_path, monkeypatch):
    monkeypatch.setenv("POTSTILL_HOME", str(tmp_path / "home"))
    outcome = potstill("setup", "moldiff", "--requirements", tmp_path / "none.txt")
    assert outcome.code == 2
    assert "none.txt" in outcome.err
