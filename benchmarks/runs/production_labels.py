"""Describe a finished production run of a real teacher: hours, memory, sizes and the verdict of each batch and of the whole.

    python -m benchmarks.runs.production_labels RUN

RUN is a folder that ``potstill run production_120k.yaml --out RUN --yes --fallback --last audit`` has finished. Its rows
join those of the rehearsal in ``results/production_120k.json``. Its ``audit.md`` becomes ``docs/120K_VALIDATION_REPORT.md``.
Seconds of a stage include other work on the machine. Memory is that of the largest worker.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.lib.common import write_results

from potstill.dataset import Dataset
from potstill.run.folder import RunFolder
from potstill.run.metrics_file import read_metrics

REPORT = Path(__file__).resolve().parents[2] / "docs" / "120K_VALIDATION_REPORT.md"


def main() -> None:
    """Write the rows of a run and its report."""
    run = RunFolder(Path(sys.argv[1]))
    teacher = run.record()["teacher"]["name"]
    rows = [{"run": teacher, "batch": batch.path.name, **_row(batch), **_memory(batch)} for batch in run.subruns()]
    largest = max(row["worker_peak_bytes"] for row in rows)
    rows.append({"run": teacher, "batch": "whole", **_row(run), "worker_peak_bytes": largest})
    print(write_results("production_120k", rows, keep=("run", "batch")))
    REPORT.write_text((run.path / "audit.md").read_text(encoding="utf-8"), encoding="utf-8")


def _row(run: RunFolder) -> dict[str, Any]:
    audit = json.loads(run.json("audit").read_text(encoding="utf-8"))
    measured = {finding["check"]: finding["measured"] for finding in audit["findings"]}
    return {
        "structures": audit["structures"],
        "labelled": audit["labelled"],
        "elements": int(measured["element_coverage"]),
        **{f"{stage}_seconds": round(entry["seconds"], 1) for stage, entry in run.record()["stages"].items()},
        "label_worker_seconds": round(float(Dataset(run.dataset).attributes["label_worker_seconds"]), 1),
        "dataset_bytes": run.dataset.stat().st_size,
        "verdict": audit["verdict"],
    }


def _memory(batch: RunFolder) -> dict[str, Any]:
    return {"worker_peak_bytes": int(max(line.get("memory_bytes", 0) for line in read_metrics(batch.metrics)))}


if __name__ == "__main__":
    main()
