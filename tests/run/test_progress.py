"""One line for each stage, a bar on a terminal, and plain lines at intervals elsewhere."""

from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console

from potstill.run import progress as module
from potstill.run.progress import Progress


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=120)


@pytest.fixture
def at_once(monkeypatch):
    """Plain lines without the half minute between them."""
    monkeypatch.setattr(module, "PLAIN_EVERY_SECONDS", 0.0)


def lines(console: Console) -> list[str]:
    return console.file.getvalue().splitlines()


def test_a_stage_is_one_line_without_a_terminal(console):
    progress = Progress(console)
    with progress.stage("label"), progress.counts(10, "structures") as bar:
        progress.note("half")
        bar.advance(6, 1)
        bar.advance(2, 1)
    progress.ended("label", 61.0, "8 of 10 structures")
    assert [line.split() for line in lines(console)] == [["label", "done", "61", "s", "8", "of", "10", "structures"]]


@pytest.mark.usefixtures("at_once")
def test_a_long_stage_says_how_far_it_is(console):
    progress = Progress(console)
    with progress.stage("label"), progress.counts(10, "structures") as bar:
        bar.advance(6, 1)
        bar.advance(2, 1)
    assert len(lines(console)) == 2
    assert lines(console)[-1].startswith("label     8/10 structures")
    assert lines(console)[-1].endswith("2 refused")


@pytest.mark.usefixtures("at_once")
def test_the_rate_is_that_of_this_run(console, monkeypatch):
    """What an earlier run has done took no time of this one."""
    hours = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: 3600 * hours[0])
    progress = Progress(console)
    with progress.counts(100, "structures") as bar:
        hours[0] = 1.0
        bar.advance(60, before=True)
        assert bar.line() == "60/100 structures"
        bar.advance(10)
        assert bar.line() == "70/100 structures, 10/hour, 3 h 00 min left"
    with progress.counts(100, "epochs") as bar:
        bar.set(80, {})
        hours[0] = 1.5
        bar.set(90, {})
        assert bar.line() == "90/100 epochs, 20/hour, 30 min left"


def test_the_start_of_the_workers_is_not_in_the_rate(console, monkeypatch):
    seconds = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: seconds[0])
    with Progress(console).counts(100, "structures") as bar:
        seconds[0] = 30.0
        bar.advance(4)
        assert bar.line() == "4/100 structures, 480/hour, 12 min left"  # nothing else is known yet
        seconds[0] = 32.0
        bar.advance(4)
        assert bar.line() == "8/100 structures, 7,200/hour, 46 s left"


def test_the_bar_tells_the_same_rate(monkeypatch):
    console = Console(file=io.StringIO(), width=200, force_terminal=True)
    hours = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: 3600 * hours[0])
    progress = Progress(console)
    with progress.stage("label"), progress.counts(100, "structures") as bar:
        hours[0] = 1.0
        bar.advance(60, before=True)
        bar.advance(10)
        progress._display._bar.refresh()
    told = console.file.getvalue()
    assert "10/hour, 3 h 00 min left" in told
    assert "70/hour" not in told


def test_a_counter_knows_when_the_work_began(monkeypatch):
    hours = [1.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: 3600 * hours[0])
    with Progress(Console(file=io.StringIO())).counts(10, "epochs", started=0.0) as bar:
        bar.set(1, {})
        assert bar.line() == "1/10 epochs, 1/hour, 9 h 00 min left"


@pytest.mark.usefixtures("at_once")
def test_sources_replace_what_they_said(console):
    with Progress(console).counts(5, "structures") as bar:
        bar.source("a", 1, {})
        bar.source("a", 3, {"too_close": 7})
        bar.source("b", 2, {"duplicate": 1})
    assert lines(console)[-1].startswith("5/5 structures")
    assert lines(console)[-1].endswith("b; 8 refused by the filter")


def test_a_stage_that_fails_is_not_called_done(console):
    progress = Progress(console)
    with pytest.raises(ValueError, match="broken"), progress.stage("train"):
        raise ValueError("broken")
    progress.ended("train", 2.0, "", "failed")
    progress.skip("audit", 3.0)
    assert "done before (3 s)" in lines(console)[-1]
    assert lines(console)[0].split() == ["train", "failed", "2", "s"]


def test_notes_are_logged_and_not_printed(console, caplog):
    progress = Progress(console)
    with caplog.at_level(logging.INFO, logger="potstill"), progress.stage("evaluate"):
        progress.note("phonons of [Si]")
    assert "phonons of [Si]" in caplog.text
    assert lines(console) == []


def test_a_terminal_gets_a_bar_that_ends_with_the_stage():
    console = Console(file=io.StringIO(), width=140, force_terminal=True)
    progress = Progress(console)
    with progress.stage("label"), progress.counts(4, "structures") as bar:
        bar.advance(4)
        progress.note("[one] more")
    progress.ended("label", 1.0, "4 of 4 [structures]")
    text = console.file.getvalue()
    assert "4/4 structures" in text
    assert "[one] more" in text
    assert text.splitlines()[-1].endswith("4 of 4 [structures]")
    assert "\x1b[?25h" in text, "the cursor is back"
