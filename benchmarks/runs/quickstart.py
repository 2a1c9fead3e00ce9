"""A template's run, measured: wall time of each stage, peak memory of the process tree, and the figures it reports.

    python -m benchmarks.runs.quickstart [RUN] [--template small_6k]

Runs the template ``quickstart``, or another one that needs no files, from nothing in a new folder (RUN, or a temporary
one), and writes ``benchmarks/results/TEMPLATE.json``. ``readme_table`` makes the README's table from ``quickstart.json``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from benchmarks.lib.common import write_results

from potstill.dataset import open_file
from potstill.run.facts import round_reports
from potstill.run.folder import RunFolder

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
    rows += _rounds(run)
    rows += [
        {"what": f"physics {row['check']}", **{k: row[k] for k in ("system", "measured", "candidate", "reference")}}
        for row in evaluate["physics"]
        if row["ran"] and row["reference"]
    ]
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


def _rounds(run: Path) -> list[dict[str, Any]]:
    """What the rounds of active learning reached: labels so far, and error in the student's own dynamics."""
    folder = RunFolder(run)
    labels, rows = len(open_file(folder.dataset)), []
    for found in round_reports(folder):
        labels += len(open_file(folder.active_learning / f"{found['round']:02d}" / "new.h5"))
        error, limit = found["forces"]["mae"], found["forces"]["limit"]
        rows.append({"what": f"round {found['round']}", "labels": labels, "force_mae": error, "limit": limit})
    return rows


def main() -> int:
    """Run, collect, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path)
    parser.add_argument("--template", default="quickstart")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        run = options.run or Path(scratch) / "run"
        config = ROOT / "src" / "potstill" / "templates" / f"{options.template}.yaml"
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
        print(write_results(options.template, watched + figures_of(run)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
