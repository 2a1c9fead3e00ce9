"""What every benchmark shares: the result file with its machine, versions and date."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from potstill.run_folder import machine

RESULTS = Path(__file__).parent / "results"


def write_results(script: str, rows: list[dict[str, Any]]) -> Path:
    """Write ``results/<script>.json``."""
    described = machine()
    versions = described.pop("versions")
    content = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": described,
        "versions": {**versions, "python": described["python"]},
        "rows": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{script}.json"
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
