"""The verdict NO-GO as an error: stages after the audit do not run."""

from __future__ import annotations

from typing import Any

from potstill.core.errors import PotstillError
from potstill.core.files import read_json
from potstill.core.verdict import is_failure
from potstill.run.folder import RunFolder


class NoGoError(PotstillError):
    """Raised where the audit says NO-GO: later stages do not run."""

    exit_code = 3


def stop_on_no_go(run: RunFolder) -> None:
    """Raise :class:`NoGoError` where ``audit.json`` does not say GO."""
    report = read_json(run.json("audit"), f"judge again:  potstill audit {run.path}")
    if report["verdict"] != "GO":
        bad = [f for f in report["findings"] if is_failure(f["verdict"])]
        failed = [f"  {f['check']}: {figure_of(f)}. {f['why']}" for f in bad]
        places = "  ".join(str(path) for path in (run.html("audit"), run.path / "advice.yaml") if path.exists())
        lines = [f"NO-GO: {len(failed)} check(s) of the audit did not pass", *failed, f"NO_GO  {places}"]
        raise NoGoError("\n".join(lines))


def figure_of(finding: dict[str, Any]) -> str:
    """Return the figure of a finding against its limit, in words."""
    if finding["measured"] is None:
        return "did not run" if finding["limit"] is None else f"no finite figure against {finding['limit']:.4g}"
    return f"{finding['measured']:.4g} {finding['unit']} against {finding['limit']:.4g}"
