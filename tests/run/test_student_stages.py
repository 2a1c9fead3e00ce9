"""Stages of the student within a run: what they tell while they run."""

from types import SimpleNamespace

import pytest

from potstill.active_learning import stage as rounds
from potstill.report import active_learning as page
from potstill.run.folder import RunFolder
from potstill.run.metrics_file import read_metrics
from potstill.run.stages import student


def test_a_round_is_told_as_soon_as_it_is_judged(tmp_path, monkeypatch):
    """Not after the last of them: ``status`` reads it while the next one trains."""
    report = {"round": 1, "passed": False, "forces": {"mae": 0.03, "limit": 0.025, "unit": "eV/Å"}, "frames": []}

    def one_round(*_, on_round, **__):
        on_round([report], tmp_path / "01")
        raise KeyboardInterrupt

    monkeypatch.setattr(rounds, "learn_actively", one_round)
    monkeypatch.setattr(page, "write_round_page", lambda *_: None)
    monkeypatch.setattr(student, "open_file", lambda path: path)
    executor = SimpleNamespace(close=lambda: None)
    config = SimpleNamespace(workers=1, execute=SimpleNamespace(start=lambda *_: executor))
    run = RunFolder(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        student._learn_actively(SimpleNamespace(run=run, config=config), SimpleNamespace(epochs=1))
    (line,) = read_metrics(run.metrics)
    assert (line["event"], line["round"], line["passed"], line["forces"]["mae"]) == ("judged", 1, False, 0.03)
