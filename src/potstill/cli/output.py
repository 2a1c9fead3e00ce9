"""Results of commands on standard output: lines for people, or one JSON object for scripts."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, and nothing else there.")]

GOES_ON = {"run": "--resume", **dict.fromkeys(("generate", "label", "train"), "the same command")}


def stopped() -> str:
    """Return what to say of the command that a signal stopped, by the arguments of this process."""
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    return f"stopped; what was finished is kept, go on with {GOES_ON[command]}" if command in GOES_ON else "stopped"


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


@contextmanager
def ended_as_json(wanted: bool, facts: Callable[[], Mapping[str, Any]]) -> Iterator[None]:
    """Print one JSON object at the end of a command, also where it fails: facts, ``error`` and ``exit_code``.

    Parameters
    ----------
    wanted
        Whether JSON is wanted; where not, nothing is printed or sent elsewhere.
    facts
        Function that is called at the end.
    """
    if not wanted:
        yield
        return
    code, told = 0, None
    try:
        with kept_for_json(wanted):
            yield
    except BaseException as error:
        code, told = _end_by(error)
        raise
    finally:
        print_json({**facts(), "error": told, "exit_code": code})


def _end_by(error: BaseException) -> tuple[int, str]:
    """Return the exit code of a command that an error ends, and the error in words."""
    from potstill.core.errors import PotstillError
    from potstill.core.files import file_error

    told = file_error(error) if isinstance(error, OSError) else error
    if isinstance(told, PotstillError):
        return told.exit_code, str(told)
    if isinstance(told, KeyboardInterrupt):
        return 128 + signal.SIGINT, stopped()
    if isinstance(told, SystemExit):
        return int(told.code or 0), stopped()
    return getattr(told, "exit_code", 1), f"{type(told).__name__}: {told}"


def judged_facts(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys that ``audit --json`` shares with ``evaluate --json``: counts, failed checks and all findings."""
    from potstill.core.verdict import is_failure
    from potstill.report.page import tally

    findings = report["findings"]
    passed, asked = tally(findings)
    failed = [f["check"] for f in findings if is_failure(f["verdict"])]
    return {"passed": passed, "asked": asked, "failed": failed, "findings": findings}
