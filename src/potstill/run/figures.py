"""Numbers about a run in progress: counts and rates by source and worker, time left, disk, memory, alerts.

The input is a run folder, the output are numbers. :mod:`potstill.run.status` prints them, :mod:`potstill.run.metrics` writes
them to files.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from potstill.audit.options import AuditConfig
from potstill.config import Config
from potstill.core.errors import PotstillError
from potstill.dataset import open_file
from potstill.execute.gpus import GpuUse, gpus_in_use
from potstill.run.folder import RunFolder
from potstill.run.lock import holder
from potstill.run.metrics_file import epochs_of_training, read_metrics
from potstill.run.upgrade import read_config

RECENT_SECONDS = 300.0
MINUTE = 60.0
SLOW = 0.5  # share of the running median of the rate
MEDIAN_MINUTES = 5  # time before a rate can count as low
SUCCESS_AFTER = 100  # number of structures before a share is extrapolated
LITTLE_MEMORY = 0.05
COPIES = 2.5  # bytes of labelled parts, dataset and audit, over those of the labelled parts alone


@dataclass(slots=True)
class SourceFigures:
    """Counts of one source, and its rates in structures per second."""

    name: str
    wanted: int
    accepted: int = 0
    refused_by_filter: int = 0
    labelled: int = 0
    refused_by_teacher: int = 0
    rate: float = 0.0
    recent_rate: float = 0.0


@dataclass(slots=True)
class WorkerFigures:
    """One worker process: ``host:process``, time of its last result, number of its structures, memory in bytes."""

    name: str
    seen: datetime
    structures: int = 0
    recent_rate: float = 0.0
    memory_bytes: int = 0
    alive: bool | None = None


@dataclass(slots=True)
class Figures:
    """Figures of a run at one moment; rates in structures per second, None where there is no figure yet.

    For a run in batches they are those of the ``subrun`` that has not passed yet, except the stages, and those of the merged
    dataset once all have passed. ``gpus`` are those of this machine, while the run works.
    """

    stages: dict[str, dict[str, Any]]
    total: int
    labelled: int = 0
    refused: int = 0
    beyond_limits: int = 0
    rate: float | None = None
    recent_rate: float | None = None
    seconds_left: float | None = None
    sources: dict[str, SourceFigures] = field(default_factory=dict)
    workers: list[WorkerFigures] = field(default_factory=list)
    epoch: dict[str, Any] = field(default_factory=dict)
    driver_alive: bool = False
    disk_used_bytes: int = 0
    labels_bytes: int = 0
    disk_free_bytes: int = 0
    gpus: list[GpuUse] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)
    subrun: RunFolder | None = None


def look(run: RunFolder, config: Config, *, now: datetime | None = None) -> Figures:
    """Return the figures of a run folder now."""
    now = now or datetime.now(UTC)
    lines = read_metrics(run.metrics)
    stages = {stage: run.stage(stage) for stage in run.stages}
    subrun = next((b for b in run.subruns() if b.config.exists() and not b.passed()), None)
    if subrun is not None:  # all figures are those of the current one
        figures = look(subrun, read_config(subrun), now=now)
        return replace(figures, stages=stages, subrun=subrun)
    sources = {s.name: SourceFigures(s.name, s.count) for s in config.generate.sources}
    figures = Figures(stages, sum(s.count for s in config.generate.sources), sources=sources)
    _generated(figures, lines)
    _labelled(figures, lines, now)
    if run.subruns() and run.dataset.is_file():
        _merged(figures, run.dataset)
    epochs = epochs_of_training(lines)
    figures.epoch = epochs[-1] if epochs else {}
    figures.driver_alive = driver_alive(run)
    sizes = {Path(folder): sum(_size(folder, name) for name in names) for folder, _, names in os.walk(run.path)}
    figures.disk_used_bytes = sum(sizes.values())
    figures.labels_bytes = sum(size for folder, size in sizes.items() if folder.is_relative_to(run.labelled_parts))
    figures.disk_free_bytes = shutil.disk_usage(run.path).free
    figures.gpus = gpus_in_use() if figures.driver_alive else []
    figures.alerts = list(_alerts(figures, config, lines, now))
    return figures


def driver_alive(run: RunFolder) -> bool:
    """Return whether the process that holds the folder is alive; one on another machine is assumed to be."""
    found = holder(run.path)
    if found is None:
        return False
    number, host = found
    return host != platform.node() or psutil.pid_exists(number)


def _merged(figures: Figures, path: Path) -> None:
    """Fill in the counts of batches that were merged; a file that cannot be opened leaves them as they are."""
    with suppress(PotstillError):
        labelled, refused = _counts_in(path, path.stat().st_mtime_ns)
        for name, source in figures.sources.items():
            source.labelled, source.refused_by_teacher = labelled[name], refused["label", name]
            source.accepted, source.refused_by_filter = labelled[name] + refused["label", name], refused["generate", name]
        figures.labelled = sum(labelled.values())
        figures.refused = sum(n for (stage, _), n in refused.items() if stage == "label")


@lru_cache(maxsize=8)
def _counts_in(path: Path, _written: int) -> tuple[Counter[str], Counter[tuple[str, str]]]:
    """Return the number of structures by source, and that of refusals by stage and source."""
    dataset = open_file(path)
    return Counter(dataset.sources.tolist()), Counter((r.stage, r.source) for r in dataset.refused)


def _generated(figures: Figures, lines: Iterable[dict[str, Any]]) -> None:
    for line in lines:
        if line.get("stage") != "generate":
            continue
        said = {line["source"]: line} if "source" in line else line.get("sources", {})
        for name, content in said.items():
            source = figures.sources.setdefault(name, SourceFigures(name, content.get("wanted", 0)))
            source.wanted = content.get("wanted", source.wanted)
            source.accepted = content.get("accepted", 0)
            source.refused_by_filter = sum(content.get("refused", {}).values())
        for name in figures.sources.keys() - said.keys() if "sources" in line else ():
            figures.sources[name].wanted = 0  # no part of the contingency mix
    if _state(figures, "generate") == "done":
        figures.total = sum(s.accepted for s in figures.sources.values()) or figures.total


def _labelled(figures: Figures, lines: Sequence[dict[str, Any]], now: datetime) -> None:
    """Fill in the counts of labelling since its last start: each start logs all parts found again."""
    own = [line for line in lines if line.get("stage") == "label"]
    begun = max((k for k, line in enumerate(own) if line.get("event") == "begun"), default=0)
    own = [line for line in own[begun:] if "labelled" in line]
    fresh = [line for line in own if line.get("event") != "found"]
    figures.labelled = sum(line["labelled"] for line in own)
    figures.refused = sum(line["refused"] for line in own)
    figures.beyond_limits = sum(line.get("beyond_limits", 0) for line in own)
    for line in own:
        for name, (labelled, refused) in line.get("sources", {}).items():
            source = figures.sources.setdefault(name, SourceFigures(name, 0))
            source.labelled += labelled
            source.refused_by_teacher += refused
    if len(fresh) < 2:
        return
    first, last = _time(fresh[0]), _time(fresh[-1])
    runs_now = _state(figures, "label") == "running" and (now - last).total_seconds() < RECENT_SECONDS
    end = now if runs_now else last
    seconds = max((end - first).total_seconds(), 1e-3)
    recently = [line for line in fresh[1:] if (end - _time(line)).total_seconds() <= RECENT_SECONDS]
    recent_seconds = min(seconds, RECENT_SECONDS)
    figures.rate = sum(map(_count, fresh[1:])) / seconds
    figures.recent_rate = sum(map(_count, recently)) / recent_seconds
    left = figures.total - figures.labelled - figures.refused
    figures.seconds_left = left / figures.recent_rate if figures.recent_rate > 0 else None
    for which, chosen, over in (("rate", fresh[1:], seconds), ("recent_rate", recently, recent_seconds)):
        counts: Counter[str] = Counter()
        for line in chosen:
            counts.update({name: sum(pair) for name, pair in line.get("sources", {}).items()})
        for name, count in counts.items():
            setattr(figures.sources[name], which, count / over)
    figures.workers = _workers(fresh, recently, recent_seconds)


def _workers(fresh: Iterable[dict[str, Any]], recently: Sequence[dict[str, Any]], seconds: float) -> list[WorkerFigures]:
    workers: dict[str, WorkerFigures] = {}
    for line in fresh:
        if name := line.get("worker"):
            worker = workers.setdefault(name, WorkerFigures(name, _time(line)))
            worker.seen = _time(line)
            worker.structures += _count(line)
            worker.memory_bytes = line.get("memory_bytes", 0)
    for worker in workers.values():
        worker.recent_rate = sum(_count(line) for line in recently if line.get("worker") == worker.name) / seconds
        host, _, process = worker.name.rpartition(":")
        worker.alive = psutil.pid_exists(int(process)) if host == platform.node() else None
    return sorted(workers.values(), key=lambda worker: worker.name)


def _alerts(figures: Figures, config: Config, lines: Sequence[dict[str, Any]], now: datetime) -> Iterable[str]:
    running = [name for name, entry in figures.stages.items() if entry["state"] == "running"]
    if running and not figures.driver_alive:
        yield f"no process works on '{running[0]}' any more; go on with:  potstill run CONFIG --out RUN --resume"
    if "label" in running:
        yield from _slow(lines, now)
    yield from _gates(figures, config.audit)
    done = figures.labelled + figures.refused
    if running and done:
        need = figures.labels_bytes * (COPIES * figures.total / done - 1)
        if figures.disk_free_bytes < need:
            yield f"disk: {figures.disk_free_bytes / 1e9:.1f} GB free, about {need / 1e9:.1f} GB still needed"
    memory = psutil.virtual_memory()
    if running and memory.available < LITTLE_MEMORY * memory.total:
        yield f"memory: {memory.available / 1e9:.1f} GB of {memory.total / 1e9:.1f} GB left on {platform.node()}"


def _slow(lines: Sequence[dict[str, Any]], now: datetime) -> Iterable[str]:
    """Yield an alert where the rate of the last minute is below half of the median since the last start of labelling."""
    own = [line for line in lines if line.get("stage") == "label"]
    begun = max((k for k, line in enumerate(own) if line.get("event") == "begun"), default=0)
    fresh = [line for line in own[begun:] if "labelled" in line and line.get("event") != "found"]
    if not fresh:
        return
    start = _time(fresh[0])
    minutes = int((now - start).total_seconds() // MINUTE)
    if minutes < MEDIAN_MINUTES:
        return
    sums = Counter[int]()
    for line in fresh:
        sums[int((_time(line) - start).total_seconds() // MINUTE)] += _count(line)
    usual, latest = median(sums[k] for k in range(minutes)), sums[minutes - 1]
    if usual > 0 and latest < SLOW * usual:
        yield f"rate: {60 * latest:,} structures/hour in the last minute, usually {60 * usual:,.0f}"


def _gates(figures: Figures, gates: AuditConfig) -> Iterable[str]:
    """Yield an alert for each gate of the audit that can no longer pass, or that would fail at the present rate."""
    gate, done = gates.min_teacher_success, figures.labelled + figures.refused
    failures = figures.refused - figures.beyond_limits
    if figures.total and (best := 1 - failures / figures.total) < gate:
        yield f"teacher success: {best:.1%} at best, the audit asks for {gate:.1%}"
    elif done >= SUCCESS_AFTER and (share := 1 - failures / done) < gate:
        yield f"teacher success: {share:.1%} so far, the audit asks for {gate:.1%}"
    slowest = gates.min_structures_per_hour
    if figures.rate is not None and done >= SUCCESS_AFTER and 3600 * figures.rate < slowest:
        yield f"throughput: {3600 * figures.rate:,.0f} structures/hour, the audit asks for {slowest:,.0f}"
    known = any(source.accepted for source in figures.sources.values())  # not where the metrics were deleted
    for source in figures.sources.values() if known and _state(figures, "generate") == "done" else ():
        if (
            source.wanted
            and (best := (source.accepted - source.refused_by_teacher) / source.wanted) < gates.min_share_of_asked
        ):
            yield f"share of {source.name}: {best:.1%} at best, the audit asks for {gates.min_share_of_asked:.1%}"


def _state(figures: Figures, stage: str) -> str:
    """Return the state of a stage; empty where the run has no such stage."""
    return str(figures.stages.get(stage, {}).get("state", ""))


def _count(line: dict[str, Any]) -> int:
    return int(line["labelled"] + line["refused"])


def _time(line: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(line["time"])


def _size(folder: str, name: str) -> int:
    try:
        return os.stat(os.path.join(folder, name)).st_size  # noqa: PTH116, PTH118 - thousands of files
    except OSError:  # the file was renamed meanwhile
        return 0
