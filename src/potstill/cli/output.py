"""Results of commands on standard output: lines for people, or one JSON object for scripts."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, and nothing else there.")]


def print_json(facts: Mapping[str, Any]) -> None:
    """Print one JSON object."""
    typer.echo(json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False, default=str))


@contextmanager
def kept_for_json(wanted: bool) -> Iterator[None]:
    """Send to standard error all that packages, workers and programs print meanwhile, where JSON is ``wanted``."""
    if not wanted:
        yield
        return
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)


def judged_facts(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys that ``audit --json`` shares with ``evaluate --json``: counts, failed checks and all findings."""
    from potstill.core.verdict import is_failure
    from potstill.report.page import tally

    findings = report["findings"]
    passed, asked = tally(findings)
    failed = [f["check"] for f in findings if is_failure(f["verdict"])]
    return {"passed": passed, "asked": asked, "failed": failed, "findings": findings}
