"""The quickstart run, measured: wall time of each stage, peak memory of the process tree, and the figures it reports.

    python -m benchmarks.runs.quickstart [RUN]

Runs the template ``quickstart`` from nothing in a new folder (RUN, or a temporary one) and writes
``benchmarks/results/quickstart.json``; the table of the README is made from that file by ``readme_table``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from benchmarks.lib.common import write_results

ROOT = Path(__file__).resolve().parents[2]
SAMPLE_SECONDS = 0.25


def run_and_watch(command: list[str]) -> tuple[int, float, float]:
    """Exit code, wall seconds and peak resident bytes summed over the process tree (shared pages count for each)."""
    started = time.perf_counter()
    process = subprocess.Popen(command)
    tree, peak = psutil.Process(process.pid), 0
    while process.poll() is None:
        peak = max(peak, _resident(tree))
        time.sleep(SAMPLE_SECONDS)
    return process.returncode, time.perf_counter() - started, float(peak)


def _resident(tree: psutil.Process) -> int:
    total = 0
    try:
        members = [tree, *tree.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for member in members:
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def figures_of(run: Path) -> list[dict[str, Any]]:
    """What a finished run reports of itself."""
    audit, evaluate, record = (
        json.loads((run / name).read_text(encoding="utf-8")) for name in ("audit.json", "evaluate.json", "run.json")
    )
    rows: list[dict[str, Any]] = [
        {"what": "structures", "value": audit["structures"], "unit": ""},
        {"what": "labelled", "value": audit["labelled"], "unit": ""},
        {"what": "audit", "value": audit["verdict"], "unit": ""},
    ]
    rows += [
        {"what": f"stage {name}", "value": round(stage["seconds"], 1), "unit": "s"}
        for name, stage in record["stages"].items()
    ]
    rows += [
        {"what": f"audit {f['check']}", "value": f["measured"], "limit": f["limit"], "unit": f["unit"]}
        for f in audit["findings"]
    ]
    rows.append({"what": "student parameters", "value": evaluate["student"]["parameters"], "unit": ""})
    for name, figures in {"all sources": evaluate, **evaluate["per_source"]}.items():
        forces = figures["forces"]
        rows.append(
            {
                "what": f"held-out {name}",
                "structures": figures["structures"],
                "force_mae": forces["mae"],
                "zero_baseline_mae": forces["zero_baseline_mae"],
                "ratio": forces["ratio_to_zero_baseline"],
                "unit": forces["unit"],
                "energy_mae_per_atom": figures["energy"]["mae_per_atom"],
                "energy_mean_baseline_mae_per_atom": figures["energy"]["mean_baseline_mae_per_atom"],
            }
        )
    rows += [{"what": f"NVE {row['kind']}", **row} for row in evaluate["nve"]]
    rows += [{"what": "speed", **row} for row in evaluate["speed"]]
    rows += [
        {
            "what": f"evaluate {f['check']}",
            "verdict": f["verdict"],
            "value": f["measured"],
            "limit": f["limit"],
            "unit": f["unit"],
        }
        for f in evaluate["findings"]
    ]
    return rows


def main() -> int:
    """Run, collect, write."""
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(scratch) / "run"
        config = ROOT / "src" / "potstill" / "templates" / "quickstart.yaml"
        command = [sys.executable, "-m", "potstill", "run", str(config), "--out", str(run), "--yes"]
        exit_code, seconds, peak = run_and_watch(command)
        if exit_code not in (0, 3) or not (run / "evaluate.json").exists():
            print(f"the run ended with exit code {exit_code}; nothing was written")
            return 1
        watched = [
            {"what": "exit code", "value": exit_code, "unit": ""},
            {"what": "wall time", "value": round(seconds, 1), "unit": "s"},
            {"what": "peak memory", "value": round(peak / 1e9, 2), "unit": "GB"},
        ]
        print(write_results("quickstart", watched + figures_of(run)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
