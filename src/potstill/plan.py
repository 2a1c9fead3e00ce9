"""What a run will cost, from a short measured probe, and what it lacks here.

Enters a config, leaves rows of counts, seconds, bytes and memory per stage. Nothing is written into a run folder.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from potstill.config import Config
from potstill.dataset import Records
from potstill.errors import PotstillError
from potstill.execute import available_cores
from potstill.generate.mix import Mix, SourceFailedError, as_asked, without_missing
from potstill.generate.source import SourceOptions
from potstill.registry import borrow
from potstill.types import Labels, Structure
from potstill.units import duration

PROBE_CANDIDATES = 12
PROBE_LABELS = 24
PROBE_STEPS = 3
LONG_RUN_SECONDS = 3600.0
BYTES_PER_ATOM = 1 + 12 + 12
BYTES_PER_STRUCTURE = 8 + 72 + 3 + 8 + 36 + 1 + 250


@dataclass(frozen=True, slots=True)
class Cost:
    """Estimate for one stage."""

    stage: str
    what: str
    seconds: float
    disk_bytes: float
    memory_bytes: float


def settle(config: Config) -> Config:
    """The config with the counts of the contingency mix where a generative source is missing; else the same."""
    _, sources = _mix_here(config)
    return config.model_copy(update={"generate": config.generate.model_copy(update={"sources": tuple(sources)})})


def missing_pieces(config: Config) -> list[str]:
    """What this config needs and this machine lacks, each with the command that mends it."""
    mix, sources = _mix_here(config)
    missing = [str(SourceFailedError(mix))] if mix.failed else []
    missing += [fault for source in sources if (fault := source.missing()) is not None]
    teachers = (config.label.teacher, *config.label.committee)
    packages = {
        f"the backend '{config.execute.backend}'": config.execute.requires(),
        "train.tensorboard": ("tensorboard", "tensorboard") if config.train.tensorboard else None,
    }
    for why, package in packages.items():
        if package is not None:
            try:
                borrow(*package, why)
            except PotstillError as error:
                missing.append(str(error))
    for teacher in teachers:
        try:
            teacher.check()
        except PotstillError as error:
            missing.append(str(error))
    return missing


def _mix_here(config: Config) -> tuple[Mix, list[SourceOptions]]:
    """The mix that this machine can make, and its sources."""
    sources = config.generate.resolved_sources()
    mix = without_missing(sources, config.generate.contingency, as_asked(sources))
    return mix, mix.apply(sources)


def probe(config: Config) -> list[Cost]:
    """Run a few candidates, labels and training steps, and extrapolate by the counts of the config."""
    workers = config.workers or available_cores()
    structures, generate_seconds = _probe_generate(config, workers)
    total = sum(source.count for source in config.generate.sources)
    sample, atoms = _sample(config, structures)
    atom_seconds, labelled = _probe_label(config, sample)
    disk = total * BYTES_PER_STRUCTURE + atoms * BYTES_PER_ATOM
    memory = _resident_bytes()
    training = _probe_train(config, labelled) * atoms * (1 - config.dataset.test_fraction) * config.train.epochs
    evaluating = 10.0 * atom_seconds * atoms / total * config.evaluate.speed_repeats + 30.0 * config.evaluate.nve_ps
    return [
        Cost("generate", f"{total} structures", generate_seconds, disk, memory * workers),
        Cost("label", f"{total} structures", atom_seconds * atoms / workers, 2 * disk, memory * workers),
        Cost("audit", f"{max(8, round(total * config.audit.replay_fraction))} labels again", 0.003 * total, 1e6, memory),
        Cost("train", f"{config.train.epochs} epochs", training, 2e7, memory + 4 * disk),
        Cost("evaluate", f"{config.evaluate.nve_ps:g} ps of dynamics each", evaluating, 2e6, memory),
        Cost("deploy", ", ".join(config.deploy.formats), 1.0, 5e6, memory),
    ]


def print_plan(costs: Sequence[Cost], console: Console) -> None:
    """The estimate as a table."""
    table = Table(title="estimate from a measured probe, good to about a factor of two")
    for heading in ("stage", "what", "time", "disk", "memory"):
        table.add_column(heading, justify="left" if heading in ("stage", "what") else "right")
    for cost in costs:
        table.add_row(
            cost.stage,
            cost.what,
            duration(cost.seconds),
            f"{cost.disk_bytes / 1e6:,.1f} MB",
            f"{cost.memory_bytes / 1e9:.1f} GB",
        )
    table.add_section()
    table.add_row(
        "total", "", duration(sum(c.seconds for c in costs)), f"{sum(c.disk_bytes for c in costs) / 1e6:,.1f} MB", ""
    )
    console.print(table)


def ask_before_long_run(config: Config) -> None:
    """Show the estimate and ask, where it exceeds an hour and someone sits at the terminal."""
    if not sys.stdin.isatty():
        return
    costs = probe(config)
    if sum(cost.seconds for cost in costs) > LONG_RUN_SECONDS:
        print_plan(costs, Console(stderr=True))
        typer.confirm("Start this run?", abort=True)


def _probe_generate(config: Config, workers: int) -> tuple[list[Structure], float]:
    """Some accepted structures of every source, and the estimated seconds of all workers for all of them."""
    structures: list[Structure] = []
    seconds = 0.0
    for source in config.generate.resolved_sources(config.label.teacher):
        candidates = PROBE_CANDIDATES
        if source.exclusive:  # a program's whole batch; what its start takes is part of every batch
            candidates = source.candidates_per_task
        else:
            source.propose(range(1), config.seed, structures)  # imports
        started = time.perf_counter()
        proposals = source.propose(range(candidates), config.seed, structures)
        accepted = [p for p in proposals if isinstance(p, Structure)]
        accepted = [s for s in accepted if isinstance(config.generate.door.screen(s), Structure)]
        spent = time.perf_counter() - started
        needed = _candidates_needed(source, candidates, len(accepted))
        seconds += spent * needed / candidates / (1 if source.exclusive else workers)
        structures += [s.with_(source=source.name, family=s.family or s.formula) for s in accepted]
    if not structures:
        raise PotstillError("the probe got no structure from any source; look at 'elements' and 'max_atoms'")
    return structures, seconds


def _candidates_needed(source: SourceOptions, candidates: int, accepted: int) -> float:
    needed = source.count * candidates / max(accepted, 0.5)
    available = source.available()
    return needed if available is None else min(needed, available)


def _sample(config: Config, structures: Sequence[Structure]) -> tuple[list[Structure], float]:
    """Structures drawn as often as their sources are asked for, and the atoms of the whole run."""
    counts = {source.name: source.count for source in config.generate.sources}
    probed = Counter(s.source for s in structures)
    weight = np.array([counts[s.source] / probed[s.source] for s in structures])
    atoms = float(weight @ [len(s) for s in structures]) * sum(counts.values()) / weight.sum()
    chosen = np.random.default_rng(config.seed).choice(len(structures), PROBE_LABELS, p=weight / weight.sum())
    return [structures[k] for k in chosen], atoms


def _probe_label(config: Config, sample: Sequence[Structure]) -> tuple[float, list[Structure]]:
    """Seconds per atom in one thread, as a worker has it, and the labelled structures."""
    import torch

    teacher = config.label.teacher.open()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        teacher.label(sample[:1])
        started = time.perf_counter()
        answers = teacher.label(sample)
        seconds = time.perf_counter() - started
    finally:
        torch.set_num_threads(threads)
    labelled = [s.with_(labels=a) for s, a in zip(sample, answers, strict=True) if isinstance(a, Labels)]
    return seconds / sum(map(len, sample)), labelled


def _probe_train(config: Config, labelled: Sequence[Structure]) -> float:
    """Seconds of training for one atom in one epoch."""
    from potstill.train.stage import train_records

    if not labelled:
        raise PotstillError("the teacher labelled none of the probed structures")
    size = config.train.batch_structures
    records = Records.of([labelled[k % len(labelled)] for k in range(size * PROBE_STEPS)])
    with tempfile.TemporaryDirectory() as folder:
        short = config.train.model_copy(update={"epochs": 1})
        first, none = records.gather(np.arange(size)), records.gather(np.arange(0))
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # of the probe, nobody needs to know the devices
        train_records(first, none, config.student, short, Path(folder), seed=0)
        started = time.perf_counter()
        train_records(records, none, config.student, short, Path(folder) / "timed", seed=0)
        return (time.perf_counter() - started) / int(records.ptr[-1])


def _resident_bytes() -> float:
    import psutil

    return float(psutil.Process(os.getpid()).memory_info().rss)
