"""The state of a run folder as a table, also while another process works on it."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from potstill.config import Config
from potstill.core.errors import InputError, PotstillError
from potstill.core.files import h5_files, quoted, read_json
from potstill.core.units import duration
from potstill.core.verdict import word_of
from potstill.dataset import open_file
from potstill.label.tasks import parts_in, range_of
from potstill.report.page import tally, verdict_of, warned
from potstill.run.facts import exports_told
from potstill.run.figures import Figures, driver_alive, look
from potstill.run.folder import RunFolder
from potstill.run.lock import refuse_partial
from potstill.run.made_from import why_not_done
from potstill.run.metrics_file import epochs_of_training, of_present_training, read_metrics
from potstill.run.subruns import subrun_configs
from potstill.run.upgrade import read_config
from potstill.run.verdict import run_verdict

LIVE_SECONDS = 2.0
SUBRUN_STAGES = ("generate", "label", "audit")
HELD_OUT = "held-out mean length of the force error {:.3f} eV/Å"
ON_TRAINING = "mean length of the force error {:.3f} eV/Å on the training data"
MARKS = {
    "done": "[green]done[/green]",
    "running": "[yellow]running[/yellow]",
    "killed": "[red]killed[/red]",
    "failed": "[red]failed[/red]",
    "stopped": "[yellow]stopped[/yellow]",
    "stale": "[yellow]stale[/yellow]",
}


def print_status(folder: Path, console: Console) -> None:
    """Print stages with their progress, sources, workers, refusals by source and reason, and alerts.

    Raises
    ------
    InputError
        If the folder holds no run.
    """
    run, config = open_run(folder)
    console.print(_everything(run, config))
    for line in run_verdict(run).lines:
        console.print(Text(line), highlight=False, soft_wrap=True)


def follow_status(folder: Path, console: Console) -> None:
    """Print the same, refreshed until no process works on the run.

    Raises
    ------
    InputError
        If the folder holds no run.
    """
    run, config = open_run(folder)
    with Live(_everything(run, config), console=console, auto_refresh=False) as live:
        while driver_alive(run):
            time.sleep(LIVE_SECONDS)
            live.update(_everything(run, config), refresh=True)
    for line in run_verdict(run).lines:
        console.print(Text(line), highlight=False, soft_wrap=True)


def told(run: RunFolder, config: Config, stage: str) -> str:
    """Return the result of a finished stage in one line; empty where it has none."""
    text = _progress(run, config, stage, look(run, config))
    reasons = Counter[str]()
    for (where, _source, reason), count in refusals(run).items():
        if where == stage:
            reasons[reason] += count
    if reasons:
        text += "; refused: " + ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    return text


def open_run(folder: Path) -> tuple[RunFolder, Config]:
    """Return a run folder and its config.

    Raises
    ------
    InputError
        If the folder holds no run.
    """
    run = RunFolder(folder)
    if not run.config.exists():
        raise InputError(f"{folder} is no run folder (it holds no config.yaml)")
    if not run.record_file.exists():
        refuse_partial(run.path)
    return run, read_config(run)


def _everything(run: RunFolder, config: Config) -> Group:
    figures = look(run, config)
    shown: list[RenderableType] = [_stages(run, config, figures)]
    if config.batches:
        shown.append(_subruns(run, config))
    if figures.subrun is not None:
        shown.append(_stages(figures.subrun, read_config(figures.subrun), look(figures.subrun, config)))
    if any(s.accepted or s.labelled for s in figures.sources.values()):
        shown.append(_sources(figures))
    inner = figures.subrun or run
    if figures.workers and inner.stage("label")["state"] == "running":
        shown.append(_workers(figures))
    if figures.gpus:
        shown.append(_gpus(figures))
    if refused := refusals(inner):
        shown.append(_refused(refused))
    shown.append(f"disk: {figures.disk_used_bytes / 1e6:,.1f} MB used, {figures.disk_free_bytes / 1e9:,.1f} GB free")
    shown += [Text(f"ALERT  {alert}", style="bold red") for alert in figures.alerts]
    return Group(*shown)


def _stages(run: RunFolder, config: Config, figures: Figures) -> Table:
    table = _table(str(run.path), "stage", "state", "time", "progress")
    for stage, entry in figures.stages.items():
        state, shown = state_now(run, config, stage, figures)
        seconds = duration(entry["seconds"]) if entry["seconds"] else ""
        table.add_row(stage, MARKS.get(state, state), seconds, shown)
    return table


def state_now(run: RunFolder, config: Config, stage: str, figures: Figures) -> tuple[str, str]:
    """Return the state of a stage, ``stale`` where its input or output is changed or missing, and the reason."""
    state = str(run.stage(stage)["state"])
    try:
        if state == "done" and (why := why_not_done(run, config, stage)):
            return "stale", why
        if (state == "running" and not figures.driver_alive) or run.stage(stage).get("killed"):
            state = "killed"
        return state, _progress(run, config, stage, figures)
    except PotstillError as error:
        return state, str(error).splitlines()[0]


def _subruns(run: RunFolder, config: Config) -> Table:
    """Return a table of the batches: structures wanted, stage, state, time and verdict."""
    table = _table("batches", "batch", "wanted", "stage", "state", "time", "verdict")
    for number, subrun_config in enumerate(subrun_configs(config), 1):
        subrun = run.subrun(number)
        begun = [name for name in SUBRUN_STAGES if subrun.stage(name)["state"] != "waiting"]
        stage = begun[-1] if begun else ""
        state = subrun.stage(stage)["state"] if stage else "waiting"
        seconds = sum(subrun.stage(name)["seconds"] for name in SUBRUN_STAGES)
        wanted = sum(s.count for s in subrun_config.generate.sources)
        verdict = _auditing(subrun) if stage == "audit" else ""
        table.add_row(subrun.path.name, f"{wanted:,}", stage, MARKS.get(state, state), duration(seconds), verdict)
    return table


def _sources(figures: Figures) -> Table:
    table = _table("sources", "source", "generated", "wanted", "labelled", "refused", "recently", "overall", "left")
    for source in figures.sources.values():
        left = max(source.accepted, source.labelled) - source.labelled - source.refused_by_teacher
        table.add_row(
            source.name,
            str(source.accepted),
            str(source.wanted),
            str(source.labelled),
            f"{source.refused_by_filter} + {source.refused_by_teacher}",
            _per_hour(source.recent_rate),
            _per_hour(source.rate),
            duration(left / source.recent_rate) if left and source.recent_rate else "",
        )
    return table


def _workers(figures: Figures) -> Table:
    table = _table("workers", "worker", "alive", "last result", "structures", "recently", "memory")
    for worker in figures.workers:
        alive = {True: "yes", False: "no", None: ""}[worker.alive]
        ago = f"{duration((datetime.now(UTC) - worker.seen).total_seconds())} ago"
        memory = f"{worker.memory_bytes / 1e9:.1f} GB"
        table.add_row(worker.name, alive, ago, str(worker.structures), _per_hour(worker.recent_rate), memory)
    return table


def _gpus(figures: Figures) -> Table:
    table = _table("GPUs of this machine", "GPU", "model", "busy", "memory")
    for gpu in figures.gpus:
        busy = "" if gpu.busy is None else f"{gpu.busy:.0%}"
        memory = ""
        if gpu.used_bytes is not None and gpu.total_bytes is not None:
            memory = f"{gpu.used_bytes / 1e9:.1f} of {gpu.total_bytes / 1e9:.1f} GB"
        table.add_row(str(gpu.index), gpu.name, busy, memory)
    return table


def _refused(counts: Counter[tuple[str, str, str]]) -> Table:
    table = _table("refused", "stage", "source", "reason", "structures")
    for (stage, source, reason), count in sorted(counts.items()):
        table.add_row(stage, source, reason, str(count))
    return table


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title)
    for heading in headings:
        table.add_column(heading)
    return table


def _per_hour(rate: float) -> str:
    return f"{3600 * rate:,.0f}/hour" if rate else ""


def _progress(run: RunFolder, config: Config, stage: str, figures: Figures) -> str:
    """Return the progress or result of a stage; empty where it has none yet."""
    match stage:
        case "batches" | "generate":
            return (_passed if stage == "batches" else _generating)(run, config, figures)
        case "label":
            return _labelling(run, figures)
        case "audit":
            return _auditing(run)
        case "train":
            return _training(run, config)
        case "evaluate":
            return _evaluating(run)
        case _:
            return _deployed(run)


def _passed(run: RunFolder, config: Config, _figures: Figures) -> str:
    passed, asked = sum(subrun.passed() for subrun in run.subruns()), len(config.batches)
    merged = run.stage("batches")["state"] == "done" and passed < asked
    return f"{passed} of {asked} batches GO" + (", the folders of others are gone since they were merged" if merged else "")


def _generating(run: RunFolder, _config: Config, figures: Figures) -> str:
    wanted = sum(source.wanted for source in figures.sources.values())
    if accepted := sum(source.accepted for source in figures.sources.values()) if not run.structures.exists() else 0:
        return f"{accepted} of {wanted} structures"
    if run.structures.exists():
        return f"{len(open_file(run.structures))} of {wanted} structures"
    parts = len(h5_files(run.structures.parent / "parts"))
    return f"{parts} parts of candidates" if parts else ""


def _auditing(run: RunFolder) -> str:
    if not run.json("audit").exists():
        return ""
    report = read_json(run.json("audit"), f"judge again:  potstill audit {quoted(run.path)}")
    passed, asked = tally(report["findings"])
    return f"{word_of(report['verdict'])}: {passed} of {asked} checks that apply passed{warned(report['findings'])}"


def _evaluating(run: RunFolder) -> str:
    if not run.json("evaluate").exists():
        return ""
    report = read_json(run.json("evaluate"), f"evaluate again:  potstill evaluate {quoted(run.path)}")
    forces, findings = report["forces"], report.get("findings", [])
    errors = f"force MAE {forces['mae']:.3f} eV/Å (zero baseline {forces['zero_baseline_mae']:.3f})"
    if not findings:
        return errors
    passed, asked = tally(findings)
    return f"{word_of(verdict_of(findings))}: {passed} of {asked} gates that apply are met, {errors}"


def _deployed(run: RunFolder) -> str:
    return exports_told(run)


def _labelling(run: RunFolder, figures: Figures) -> str:
    if not run.structures.exists():
        return ""
    total = len(open_file(run.to_label))
    finished = sum(len(range_of(part)) for part in parts_in(run.labelled_parts))
    if finished == total and run.dataset.exists():  # nothing is left, though the teacher may have refused some
        return f"{len(open_file(run.dataset))} of {total} structures"
    text = f"{finished} of {total} structures"
    if 0 < finished < total and figures.recent_rate and figures.seconds_left is not None:
        text += f", {_per_hour(figures.recent_rate)}, {duration(figures.seconds_left)} left"
    return text


def _training(run: RunFolder, config: Config) -> str:
    metrics = read_metrics(run.metrics)
    lines = epochs_of_training(metrics)
    if not lines:
        return ""
    last = lines[-1]
    in_rounds = [line for line in of_present_training(metrics) if line["stage"] == "active_learning" and "epoch" in line]
    text = f"epoch {last['epoch']} of {config.train.epochs}{_force_error([*lines, *in_rounds])}"
    left = config.train.epochs - last["epoch"]
    if left and len(lines) > 1:
        per_epoch = median(_seconds_between(a["time"], b["time"]) for a, b in pairwise(lines))  # a pause is one of them
        text += f", {duration(left * per_epoch)} left"
    return text + _round(run, config)


def _force_error(epochs: list[dict[str, Any]]) -> str:
    """Return the last error on held-out structures, else that on the training data; empty without either.

    Not every epoch measures the former. The latter is that of batches, with weights that are not averaged.
    """
    for key, said in (("valid_forces", HELD_OUT), ("train_forces", ON_TRAINING)):
        if found := [line[key] for line in epochs if line.get(key) is not None]:
            return ", " + said.format(float(found[-1]))
    return ""


def _round(run: RunFolder, config: Config) -> str:
    """Return the result of the last round of active learning; empty where there is none."""
    judged = [line for line in of_present_training(read_metrics(run.metrics)) if line.get("event") == "judged"]
    if not judged or config.active_learning is None:
        return ""
    last, options = judged[-1], config.active_learning
    mae = last["forces"]["mae"]
    error = "no frame to judge" if mae is None else f"force MAE {mae:.3f} eV/Å"
    limit = f"{options.max_force_error_ev_per_angstrom:g}"
    return f"; round {last['round']} of {options.max_rounds}: {error} in its own MD, gate {limit}"


def refusals(run: RunFolder) -> Counter[tuple[str, str, str]]:
    """Count refusals by stage, source and reason; a file that cannot be opened makes its stage stale."""
    files = [run.dataset] if run.dataset.exists() else [run.structures, *parts_in(run.labelled_parts)]
    counts = Counter[tuple[str, str, str]]()
    for file in files:
        with suppress(PotstillError):
            counts.update(_refusals_in(file, file.stat().st_mtime_ns) if file.exists() else {})
    return counts


@cache
def _refusals_in(file: Path, _written: int) -> Counter[tuple[str, str, str]]:
    """Count the refusals in one file; the result is cached."""
    return Counter((r.stage, r.source, r.reason) for r in open_file(file).refused)


def _seconds_between(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
