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

import numpy as np
from benchmarks.lib.common import write_results

from potstill.dataset import Dataset
from potstill.run.metrics_file import read_metrics

REPORT = Path(__file__).resolve().parents[2] / "docs" / "120K_VALIDATION_REPORT.md"


def main() -> None:
    """Write the rows of a run and its report."""
    run = Path(sys.argv[1])
    batches = sorted(path for path in (run / "batches").iterdir() if path.name.isdigit())
    rows = [{"batch": path.name, **_row(path)} for path in batches]
    whole = {
        **_row(run),
        "label_worker_seconds": sum(row["label_worker_seconds"] for row in rows),
        "worker_peak_bytes": max(row["worker_peak_bytes"] for row in rows),
    }
    rows.append({"batch": "whole", **whole})
    name = Dataset(run / "dataset.h5").attributes["teacher"]
    rows = [{"run": json.loads(name)["name"], **row} for row in rows]
    print(write_results("production_120k", rows, keep=("run", "batch")))
    REPORT.write_text((run / "audit.md").read_text(encoding="utf-8"), encoding="utf-8")


def _row(folder: Path) -> dict[str, Any]:
    audit = json.loads((folder / "audit.json").read_text(encoding="utf-8"))
    stages = json.loads((folder / "run.json").read_text(encoding="utf-8"))["stages"]
    dataset = Dataset(folder / "dataset.h5")
    peak = max((line.get("memory_bytes", 0) for line in read_metrics(folder / "metrics.jsonl")), default=0)
    return {
        "structures": audit["structures"],
        "labelled": len(dataset),
        "elements": len({int(z) for k in range(len(dataset)) for z in np.unique(dataset[k].atomic_numbers)}),
        **{f"{stage}_seconds": round(entry["seconds"], 1) for stage, entry in stages.items()},
        "label_worker_seconds": round(float(dataset.attributes.get("label_worker_seconds", 0.0)), 1),
        "worker_peak_bytes": int(peak),
        "dataset_bytes": (folder / "dataset.h5").stat().st_size,
        "verdict": audit["verdict"],
    }


if __name__ == "__main__":
    main()
