"""What every benchmark shares: the result file with its machine, versions and date."""

from __future__ import annotations

import json
import resource
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from potstill.run.machine import machine

RESULTS = Path(__file__).parents[1] / "results"


def processor_seconds() -> float:
    """Return the processor time of all finished child processes, which a busy machine does not change much."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def write_results(script: str, rows: list[dict[str, Any]], keep: Sequence[str] = ()) -> Path:
    """Write ``results/<script>.json``.

    Parameters
    ----------
    script, rows
        Name of the file and what was measured.
    keep
        Columns that tell rows apart: rows of the file that were not measured again stay, as where some need packages that
        cannot live beside each other.
    """
    described = machine()
    versions = described.pop("versions")
    date = datetime.now(UTC).date().isoformat()
    path = RESULTS / f"{script}.json"
    if keep:
        rows = [{**row, "date": date} for row in rows]
        if path.exists():
            before = json.loads(path.read_text(encoding="utf-8"))
            measured = {tuple(row.get(name) for name in keep) for row in rows}
            rows = [row for row in before["rows"] if tuple(row.get(name) for name in keep) not in measured] + rows
            versions = {**before["versions"], **versions}
    content = {
        "date": date,
        "machine": described,
        "versions": {**versions, "python": described["python"]},
        "rows": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
