"""The state of a run folder, and how a command on it ended, as one dictionary for scripts; its keys are stable."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from potstill.core.errors import PotstillError
from potstill.core.verdict import Verdict
from potstill.run.figures import Figures, SourceFigures, look
from potstill.run.folder import RunFolder
from potstill.run.status import open_run, refusals, state_now
from potstill.run.upgrade import read_config
from potstill.run.verdict import run_verdict

HOUR = 3600.0
AT_THE_END = (
    *("run", "verdict", "reason", "report", "next", "stages"),
    *("wanted", "labelled", "refused_by_teacher", "sources", "refused"),
)


def status_facts(folder: Path) -> dict[str, Any]:
    """Return what ``potstill status --json`` prints.

    Raises
    ------
    InputError
        If the folder holds no run.
    """
    run, config = open_run(folder)
    figures = look(run, config)
    verdict = run_verdict(run)
    inner = figures.subrun or run
    return {
        "run": str(run.path),
        "verdict": verdict.verdict,
        "reason": verdict.reason,
        "report": str(verdict.page),
        "next": verdict.next,
        "stages": _stages(run, figures),
        "batch": _subrun(figures),
        "wanted": figures.total,
        "labelled": figures.labelled,
        "refused_by_teacher": figures.refused,
        "structures_per_hour": _per_hour(figures.recent_rate),
        "seconds_left": figures.seconds_left,
        "sources": [_source(source) for source in figures.sources.values()],
        "workers": [
            {
                "name": worker.name,
                "alive": worker.alive,
                "seen": worker.seen.isoformat(),
                "structures": worker.structures,
                "structures_per_hour": _per_hour(worker.recent_rate),
                "memory_bytes": worker.memory_bytes,
            }
            for worker in figures.workers
        ],
        "gpus": [asdict(gpu) for gpu in figures.gpus],
        "refused": _refused(refusals(inner).items()),
        "alerts": figures.alerts,
        "disk_used_bytes": figures.disk_used_bytes,
        "disk_free_bytes": figures.disk_free_bytes,
        "process_alive": figures.driver_alive,
    }


def ended_facts(folder: Path, stage: str | None = None) -> dict[str, Any]:
    """Return what ``run``, ``generate``, ``label`` and ``train`` print with ``--json`` when they end.

    Parameters
    ----------
    folder
        The run folder; where it holds no run that can be read, all but ``run``, ``stage`` and ``verdict`` is None.
    stage
        The stage that the command did; None for the last that has begun.
    """
    try:
        status: dict[str, Any] = status_facts(folder)
    except PotstillError:
        status = {"run": str(folder.absolute()), "verdict": Verdict.NOT_RUN.value}
    run = RunFolder(folder)
    begun = [row["stage"] for row in status.get("stages", []) if row["state"] != "waiting"]
    return {
        "stage": stage or next(reversed(begun), None),
        **{name: status.get(name) for name in AT_THE_END},
        "dataset": str(run.dataset) if run.dataset.is_file() else None,
        "student": str(run.student) if (run.student / "weights.safetensors").is_file() else None,
    }


def _stages(run: RunFolder, figures: Figures) -> list[dict[str, Any]]:
    config = read_config(run)
    rows = []
    for name, entry in figures.stages.items():
        state, progress = state_now(run, config, name, figures)
        rows.append({"stage": name, "state": state, "seconds": entry["seconds"], "progress": progress})
    return rows


def _subrun(figures: Figures) -> dict[str, Any] | None:
    """Return the subrun in hand with its stages; None where there is none."""
    if figures.subrun is None:
        return None
    stages = _stages(figures.subrun, look(figures.subrun, read_config(figures.subrun)))
    return {"batch": figures.subrun.path.name, "stages": stages}


def _source(source: SourceFigures) -> dict[str, Any]:
    return {
        "source": source.name,
        "wanted": source.wanted,
        "generated": source.accepted,
        "labelled": source.labelled,
        "refused_by_filter": source.refused_by_filter,
        "refused_by_teacher": source.refused_by_teacher,
        "structures_per_hour": _per_hour(source.recent_rate),
    }


def _refused(counts: Iterable[tuple[tuple[str, str, str], int]]) -> list[dict[str, Any]]:
    return [
        {"stage": stage, "source": source, "reason": reason, "structures": count}
        for (stage, source, reason), count in sorted(counts)
    ]


def _per_hour(rate: float | None) -> float | None:
    return None if rate is None else HOUR * rate
