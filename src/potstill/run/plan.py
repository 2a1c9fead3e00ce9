"""The plan of a run: its cost by stages and by batches, and the pieces missing on this machine."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from potstill.audit.beside_general import CALCULATOR
from potstill.config import Config
from potstill.core.errors import PotstillError
from potstill.core.registry import borrow
from potstill.core.units import duration
from potstill.generate.mix import Mix, SourceFailedError, as_asked, with_what_there_is, without_missing
from potstill.generate.source import SourceOptions
from potstill.run.probe import PROBE_LABELS, Cost, as_available, probe
from potstill.run.subruns import subrun_configs
from potstill.student.shipped import sizes_of, student_folder
from potstill.teacher.ase import AseCalculator
from potstill.teacher.options import TeacherOptions

SUBRUN_STAGES = ("generate", "label", "audit")
AFTERWARDS = ("train", "active_learning", "evaluate", "deploy")
LONG_RUN_SECONDS = 3600.0


def settle(config: Config) -> Config:
    """Return the config with the counts of the contingency mix where a generative source is missing; else unchanged."""
    _, sources = _mix_here(config)
    return config.model_copy(update={"generate": config.generate.model_copy(update={"sources": tuple(sources)})})


def missing_pieces(config: Config, *, made: bool = False) -> list[str]:
    """Return the pieces that this config needs and this machine lacks, each with the command that installs it.

    Parameters
    ----------
    config
        Config of the run.
    made
        Whether the structures are made, so that no source is needed any more.
    """
    from potstill.train.replay import refuse_nothing_to_replay

    missing: list[str] = []
    teachers: list[tuple[str, TeacherOptions]] = [
        ("", teacher) for teacher in (config.label.teacher, *config.label.committee)
    ]
    if not made:
        mix, sources = _mix_here(config)
        missing += [str(SourceFailedError(mix))] if mix.failed else []
        missing += [fault for source in sources if (fault := source.missing()) is not None]
        missing += config.generate.lacking_runs()
        moving = [
            (f"the teacher of the source '{s.name}': ", getattr(s, "teacher", None)) for s in sources if s.needs_teacher
        ]
        teachers += [(who, teacher) for who, teacher in moving if teacher not in (None, config.label.teacher)]
    packages = {
        f"the executor '{config.execute.executor}'": config.execute.requires(),
        "train.tensorboard": ("tensorboard", "tensorboard") if config.train.tensorboard else None,
    }
    for why, package in packages.items():
        if package is not None:
            try:
                borrow(*package, why)
            except PotstillError as error:
                missing.append(str(error))
    replay = config.train.replay  # after the training its data and the start may be gone
    if replay is not None and replay.dataset.exists() and student_folder(config.train.start).is_dir():
        try:
            refuse_nothing_to_replay(config.train, replay)
        except PotstillError as error:
            missing.append(str(error) if str(error).startswith("train.") else f"train.replay: {error}")
    for who, teacher in teachers:
        try:
            teacher.check()
            _check_student(teacher)
        except PotstillError as error:
            missing.append(f"{who}{str(error).replace('label.teacher.', 'teacher.')}" if who else str(error))
    return missing


def _check_student(teacher: TeacherOptions) -> None:
    """Raise InputError where a student that serves as a teacher is missing or damaged."""
    if isinstance(teacher, AseCalculator) and teacher.calculator == CALCULATOR and "path" in teacher.options:
        sizes_of(str(teacher.options["path"]))


def _mix_here(config: Config) -> tuple[Mix, list[SourceOptions]]:
    """Return the mix that this machine can make, and its sources."""
    sources = with_what_there_is(config.generate.resolved_sources(config.label.teacher))
    mix = without_missing(sources, config.generate.contingency, as_asked(sources))
    return mix, mix.apply(sources)


def counted(config: Config) -> list[dict[str, Any]]:
    """Return for each source the structures asked for, and how many of them it can give at most."""
    there = as_available(config).generate.sources
    pairs = zip(config.generate.sources, there, strict=True)
    return [{"source": asked.name, "asked": asked.count, "available": found.count} for asked, found in pairs]


def plan_facts(
    config: Config, costs: Sequence[Cost], *, missing: Sequence[str] = (), gpu_price: float | None = None
) -> dict[str, Any]:
    """Return what ``potstill plan --json`` prints; its keys are stable.

    Parameters
    ----------
    config
        Config as the user wrote it.
    costs
        The estimate by stages; empty where something is missing.
    missing
        What this machine lacks, each with the command that installs it.
    gpu_price
        Price of a GPU hour, for the cost.
    """
    hours = sum(cost.gpu_seconds for cost in costs) / 3600
    total = {
        "seconds": sum(c.seconds for c in costs),
        "gpu_seconds": 3600 * hours,
        "disk_bytes": sum(c.disk_bytes for c in costs),
        "price": None if gpu_price is None else hours * gpu_price,
    }
    sources = [] if missing else counted(config)
    return {"missing": list(missing), "sources": sources, "stages": [asdict(cost) for cost in costs], "total": total}


def print_counts(config: Config, console: Console) -> None:
    """Print each source that holds fewer structures than the config asks for."""
    for row in counted(config):
        if row["available"] < row["asked"]:
            structures = "structure" if row["available"] == 1 else "structures"
            text = f"{row['source']}: {row['available']:,} {structures} in the files, of {row['asked']:,} asked for"
            console.print(text, highlight=False, markup=False, soft_wrap=True)


def print_plan(costs: Sequence[Cost], console: Console) -> None:
    """Print the estimate by stages."""
    table = Table(title="estimate from a measured probe, good to about a factor of two")
    for heading in ("stage", "what", "time", "disk", "memory"):
        table.add_column(heading, justify="left" if heading in ("stage", "what") else "right")
    for cost in costs:
        table.add_row(
            cost.stage,
            cost.what,
            _with_scatter(cost.seconds, cost.scatter),
            f"{cost.disk_bytes / 1e6:,.1f} MB",
            f"{cost.memory_bytes / 1e9:.1f} GB",
        )
    table.add_section()
    table.add_row(
        "total", "", duration(sum(c.seconds for c in costs)), f"{sum(c.disk_bytes for c in costs) / 1e6:,.1f} MB", ""
    )
    console.print(table)


def print_subruns(config: Config, costs: Sequence[Cost], console: Console, gpu_price: float | None = None) -> None:
    """Print the estimate by batches, each with structures, time, GPU hours, disk, and the cost where a price is given."""
    gpu = any(cost.gpu_seconds for cost in costs)
    without = "" if gpu else "; no GPU here, so that its hours are not known"
    table = Table(title=f"batch by batch; ± is the standard error within the probe{without}")
    for heading in ("batch", "structures", "time", "GPU hours", "disk", "cost"):
        table.add_column(heading, justify="left" if heading == "batch" else "right")

    def row(name: str, structures: str, part: Sequence[Cost], share: float) -> None:
        seconds = share * sum(c.seconds for c in part)
        scatter = share * math.hypot(*(c.seconds * c.scatter for c in part)) / seconds
        hours = share * sum(c.gpu_seconds for c in part) / 3600
        error = share * math.hypot(*(c.gpu_seconds * c.scatter for c in part)) / 3600
        price = f"{hours * gpu_price:,.2f} ± {error * gpu_price:,.2f}" if gpu and gpu_price is not None else ""
        disk = f"{share * sum(c.disk_bytes for c in part) / 1e6:,.1f} MB"
        hours_text = f"{hours:,.2f} ± {error:,.2f}" if gpu else ""
        table.add_row(name, structures, _with_scatter(seconds, scatter), hours_text, disk, price)

    total = sum(source.count for source in config.generate.sources)
    data = [cost for cost in costs if cost.stage in SUBRUN_STAGES]
    for number, subrun in enumerate(subrun_configs(config) if config.batches else [config], 1):
        count = sum(source.count for source in subrun.generate.sources)
        row(f"{number:02d}", f"{count:,}", data, count / total)
    row(
        "then",
        ", ".join(c.stage for c in costs if c.stage in AFTERWARDS),
        [cost for cost in costs if cost.stage in AFTERWARDS],
        1.0,
    )
    console.print(table)


def _with_scatter(seconds: float, scatter: float) -> str:
    return f"{duration(seconds)} ± {100 * scatter:.0f} %" if scatter else duration(seconds)


def ask_before_long_run(config: Config) -> None:
    """Print the estimate and ask for confirmation, if it exceeds an hour and a user is at the terminal."""
    if not sys.stdin.isatty():
        return
    console = Console(stderr=True)
    console.print(f"measuring how long this takes: {PROBE_LABELS} labels and a short training; '--yes' leaves it out")
    costs = probe(config)
    if sum(cost.seconds for cost in costs) > LONG_RUN_SECONDS:
        print_plan(costs, console)
        if config.batches:
            print_subruns(config, costs, console)
        typer.confirm("Start this run?", abort=True)
