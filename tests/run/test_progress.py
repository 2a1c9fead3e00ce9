"""Plain lines where there is no terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from potstill.run.progress import Progress


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=120)


def test_the_last_line_has_the_whole_count(console):
    with Progress(console).counts(10, "structures") as bar:
        bar.advance(6, 1)
        bar.advance(2, 1)
    (line,) = console.file.getvalue().splitlines()
    assert line.strip().startswith("8/10 structures, ")
    assert line.endswith("2 refused")


def test_sources_replace_what_they_said(console):
    with Progress(console).counts(5, "structures") as bar:
        bar.source("a", 1, {})
        bar.source("a", 3, {"too_close": 7})
        bar.source("b", 2, {"duplicate": 1})
    (line,) = console.file.getvalue().splitlines()
    assert line.strip().startswith("5/5 structures, ")
    assert line.endswith("b; 8 refused by the filter")


def test_a_stage_that_fails_is_not_called_done(console):
    progress = Progress(console)
    with progress.stage("label"):
        progress.note("half")
    with pytest.raises(ValueError, match="broken"), progress.stage("train"):
        raise ValueError("broken")
    text = console.file.getvalue()
    assert text.count("done in") == 1
    progress.skip("audit", 3.0)
    assert "done before (3.0 s)" in console.file.getvalue()


def test_a_terminal_gets_a_bar():
    console = Console(file=io.StringIO(), width=140, force_terminal=True)
    with Progress(console).counts(4, "structures") as bar:
        bar.advance(4)
    assert "4/4" in console.file.getvalue()
