"""The verdict NO-GO as an error: stages after the audit do not run."""

from __future__ import annotations

from typing import Any

from potstill.core.errors import PotstillError
from potstill.core.files import quoted, read_json
from potstill.core.verdict import is_failure
from potstill.report.meaning import failure_of
from potstill.run.folder import RunFolder
from potstill.run.verdict import run_verdict


class NoGoError(PotstillError):
    """Raised where the audit says NO-GO: later stages do not run."""

    exit_code = 3


def stop_on_no_go(run: RunFolder) -> None:
    """Raise :class:`NoGoError` where ``audit.json`` does not say GO."""
    report = read_json(run.json("audit"), f"judge again:  potstill audit {quoted(run.path)}")
    if report["verdict"] != "GO":
        bad = [f for f in report["findings"] if is_failure(f["verdict"])]
        failed = [f"  {failure_of(f)}" for f in bad]
        verdict = run_verdict(run, report, {})
        raise NoGoError("\n".join([verdict.sentence, *failed, *verdict.lines[1:]]))


def next_after_audit(run: RunFolder, report: dict[str, Any]) -> str:
    """Return what to do after an audit: go on where it says GO, else mend the data."""
    return run_verdict(run, report, {}).next
