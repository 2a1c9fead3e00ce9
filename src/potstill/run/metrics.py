"""Monitoring of a run by its own process: ``metrics.prom`` for Prometheus, and alerts in the log, each logged once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from potstill.config import Config
from potstill.core.errors import PotstillError
from potstill.core.files import sealed
from potstill.run.figures import Figures, look
from potstill.run.folder import RunFolder
from potstill.run.record import STATES

log = logging.getLogger(__name__)
EVERY_SECONDS = 15.0
NO_REASON_TO_STOP = (
    OSError,
    ValueError,
    KeyError,
    PotstillError,
)  # a full disk ends the run later, where results are written


@contextmanager
def monitored(run: RunFolder, config: Config, every_seconds: float = EVERY_SECONDS) -> Iterator[None]:
    """Write ``metrics.prom`` and log new alerts at intervals, and at the end."""
    stop = threading.Event()
    said: set[str] = set()

    def watch() -> None:
        while not stop.wait(every_seconds):
            with suppress(
                OSError, ValueError, KeyError, PotstillError
            ):  # a full disk must not end the run here, only where results are written
                observe(run, config, said)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=1.0)
        with suppress(*NO_REASON_TO_STOP):
            observe(run, config, said)


def observe(run: RunFolder, config: Config, said: set[str]) -> None:
    """Write the figures once and log new alerts; ``said`` contains the kinds of alerts that were logged and still hold."""
    figures = look(run, config)
    kinds = {alert.partition(":")[0]: alert for alert in figures.alerts}
    for kind in kinds.keys() - said:
        log.warning("%s", kinds[kind])
    said.intersection_update(kinds)
    said.update(kinds)
    with sealed(run.path / "metrics.prom") as temporary:
        temporary.write_text(prometheus(figures), encoding="utf-8")


def prometheus(figures: Figures) -> str:
    """Return the figures in Prometheus' text format, for the textfile collector of its node exporter."""
    lines: list[str] = []

    def add(name: str, text: str, values: Mapping[tuple[tuple[str, str], ...], float | None]) -> None:
        lines.append(f"# HELP potstill_{name} {text}")
        lines.append(f"# TYPE potstill_{name} gauge")
        for labels, value in values.items():
            shown = ",".join(f'{key}="{_escaped(word)}"' for key, word in labels)
            if value is not None:
                lines.append(f"potstill_{name}{{{shown}}} {value:.10g}" if shown else f"potstill_{name} {value:.10g}")

    stages = figures.stages.items()
    add("stage_seconds", "Time spent in a stage.", {(("stage", n),): e["seconds"] for n, e in stages})
    states: dict[tuple[tuple[str, str], ...], float | None]
    states = {(("stage", n), ("state", s)): float(e["state"] == s) for n, e in stages for s in STATES}
    add("stage_state", "1 for the state that a stage is in.", states)
    add("structures_wanted", "Structures to label.", {(): figures.total})
    by_source = {(("source", s.name),): s for s in figures.sources.values()}
    add("generated_structures", "Structures that came through the filter.", {k: s.accepted for k, s in by_source.items()})
    add("generate_refused_structures", "Candidates refused.", {k: s.refused_by_filter for k, s in by_source.items()})
    add("labelled_structures", "Structures labelled.", {k: s.labelled for k, s in by_source.items()})
    add("label_refused_structures", "Structures without labels.", {k: s.refused_by_teacher for k, s in by_source.items()})
    add("label_structures_per_second", "In the last five minutes.", {k: s.recent_rate for k, s in by_source.items()})
    add("label_seconds_left", "Estimated.", {(): figures.seconds_left})
    workers = {(("worker", w.name),): w for w in figures.workers}
    add("worker_memory_bytes", "Resident memory after its last task.", {k: w.memory_bytes for k, w in workers.items()})
    add("worker_structures_per_second", "In the last five minutes.", {k: w.recent_rate for k, w in workers.items()})
    gpus = {(("gpu", str(g.index)),): g for g in figures.gpus}
    add("gpu_busy", "Share of the last moment in which a kernel ran.", {k: g.busy for k, g in gpus.items()})
    add("gpu_memory_bytes", "Memory of the GPU in use by all processes.", {k: g.used_bytes for k, g in gpus.items()})
    epoch = {k: v for k, v in figures.epoch.items() if isinstance(v, int | float)}
    add("train", "Figures of the last epoch.", {(("figure", k),): v for k, v in epoch.items()})
    add("disk_used_bytes", "Size of the run folder.", {(): figures.disk_used_bytes})
    add("disk_free_bytes", "Free where the run folder is.", {(): figures.disk_free_bytes})
    add("alerts", "Things to look at, see potstill status.", {(): len(figures.alerts)})
    return "\n".join(lines) + "\n"


def _escaped(word: str) -> str:
    return word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
