"""What a run folder says of itself, also while another process works on it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from potstill.config import Config, load_config
from potstill.dataset import open_file
from potstill.errors import InputError
from potstill.run_folder import STAGES, RunFolder
from potstill.units import duration

MARKS = {"done": "[green]done[/green]", "running": "[yellow]running[/yellow]", "failed": "[red]failed[/red]"}


def print_status(folder: Path, console: Console) -> None:
    """Stages with their progress, and refusals by source and reason.

    Raises
    ------
    InputError
        If the folder holds no run.
    """
    run = RunFolder(folder)
    if not run.config.exists():
        raise InputError(f"{folder} is no run folder (it holds no config.yaml)")
    config = load_config(run.config)
    table = Table(title=str(folder))
    for heading in ("stage", "state", "time", "progress"):
        table.add_column(heading)
    for stage in STAGES:
        entry = run.stage(stage)
        state = entry["state"]
        seconds = duration(entry["seconds"]) if entry["seconds"] else ""
        table.add_row(stage, MARKS.get(state, state), seconds, _progress(run, config, stage))
    console.print(table)
    refusals = _refusals(run)
    if refusals:
        refused = Table(title="refused")
        for heading in ("stage", "source", "reason", "structures"):
            refused.add_column(heading)
        for (stage, source, reason), count in sorted(refusals.items()):
            refused.add_row(stage, source, reason, str(count))
        console.print(refused)
    if run.report.exists():
        console.print(f"report: {run.report}", highlight=False)


def _progress(run: RunFolder, config: Config, stage: str) -> str:
    """What a stage has to show; empty where it has nothing yet."""
    tellers: dict[str, Callable[[RunFolder, Config], str]] = {
        "generate": _generating,
        "label": _labelling,
        "audit": _auditing,
        "train": _training,
        "evaluate": _evaluating,
        "deploy": _deployed,
    }
    return tellers[stage](run, config)


def _generating(run: RunFolder, config: Config) -> str:
    wanted = sum(source.count for source in config.generate.sources)
    if run.structures.exists():
        return f"{len(open_file(run.structures))} of {wanted} structures"
    parts = len(list((run.structures.parent / "parts").glob("*.h5")))
    return f"{parts} parts of candidates" if parts else ""


def _auditing(run: RunFolder, _config: Config) -> str:
    if not run.json("audit").exists():
        return ""
    report = _read(run.json("audit"))
    passed = sum(f["verdict"] == "GO" for f in report["findings"])
    return f"{report['verdict']}: {passed} of {len(report['findings'])} checks passed"


def _evaluating(run: RunFolder, _config: Config) -> str:
    if not run.json("evaluate").exists():
        return ""
    forces = _read(run.json("evaluate"))["forces"]
    return f"force MAE {forces['mae']:.3f} eV/Å (zero baseline {forces['zero_baseline_mae']:.3f})"


def _deployed(run: RunFolder, _config: Config) -> str:
    return ", ".join(sorted(p.name for p in run.deploy.iterdir())) if run.deploy.exists() else ""


def _labelling(run: RunFolder, _config: Config) -> str:
    if not run.structures.exists():
        return ""
    total = len(open_file(run.structures))
    parts = [part.stem.split("-") for part in run.labelled_parts.glob("*.h5")]
    finished = sum(int(stop) - int(start) for start, stop in parts)
    text = f"{finished} of {total} structures"
    lines = [line for line in _metrics(run) if line.get("stage") == "label" and "labelled" in line]
    if 0 < finished < total and len(lines) > 1:
        seconds = _seconds_between(lines[0]["time"], lines[-1]["time"])
        rate = sum(line["labelled"] + line["refused"] for line in lines[1:]) / seconds if seconds > 0 else 0.0
        if rate > 0:
            text += f", {3600 * rate:,.0f}/hour, {duration((total - finished) / rate)} left"
    return text


def _training(run: RunFolder, config: Config) -> str:
    lines = [line for line in _metrics(run) if line.get("stage") == "train" and "epoch" in line]
    if not lines:
        return ""
    last = lines[-1]
    text = f"epoch {last['epoch']} of {config.train.epochs}, force error {last.get('train_forces', float('nan')):.3f} eV/Å"
    left = config.train.epochs - last["epoch"]
    if left and len(lines) > 1:
        per_epoch = _seconds_between(lines[0]["time"], last["time"]) / (len(lines) - 1)
        text += f", {duration(left * per_epoch)} left"
    return text


def _refusals(run: RunFolder) -> Counter[tuple[str, str, str]]:
    files = [run.dataset] if run.dataset.exists() else [run.structures, *run.labelled_parts.glob("*.h5")]
    return Counter((r.stage, r.source, r.reason) for f in files if f.exists() for r in open_file(f).refused)


def _metrics(run: RunFolder) -> list[dict[str, Any]]:
    if not run.metrics.exists():
        return []
    lines = run.metrics.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.endswith("}")]


def _seconds_between(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))
