"""The cost of a run, estimated from a short measured probe, and the pieces missing on this machine.

The input is a config, the output are counts, seconds, GPU time, bytes and memory per stage and per batch. The run folder is
not changed. A scatter is the standard error from the spread within the probe, without the variation of the machine.
"""

from __future__ import annotations

import math
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from potstill.audit.beside_general import CALCULATOR
from potstill.config import Config
from potstill.core.errors import PotstillError
from potstill.core.registry import borrow
from potstill.core.types import Labels, Refused, Structure
from potstill.core.units import duration
from potstill.dataset import Records
from potstill.execute import available_cores
from potstill.execute.options import Parsl
from potstill.generate.mix import Mix, SourceFailedError, as_asked, with_what_there_is, without_missing
from potstill.generate.source import SourceOptions
from potstill.run.plan_rounds import Rates, seconds_of_rounds
from potstill.run.subruns import subrun_configs
from potstill.student.shipped import sizes_of
from potstill.teacher.ase import AseCalculator
from potstill.teacher.options import TeacherOptions

if TYPE_CHECKING:
    from potstill.student.model import Student

PROBE_CANDIDATES = 12
PROBE_LABELS = 24
PROBE_STEPS = 3
PROBE_GROUPS = 3
SUBRUN_STAGES = ("generate", "label", "audit")
AFTERWARDS = ("train", "active_learning", "evaluate", "deploy")
LONG_RUN_SECONDS = 3600.0
BYTES_PER_ATOM = 1 + 12 + 12
BYTES_PER_STRUCTURE = 8 + 72 + 3 + 8 + 36 + 1 + 250


@dataclass(frozen=True, slots=True)
class Cost:
    """Estimate for one stage; ``scatter`` is the standard error of its seconds, as a share of them."""

    stage: str
    what: str
    seconds: float
    disk_bytes: float
    memory_bytes: float
    gpu_seconds: float = 0.0
    scatter: float = 0.0


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


def as_available(config: Config) -> Config:
    """Return the config with the counts of the user's own files limited to the structures that they hold."""
    sources = tuple(with_what_there_is(config.generate.sources))
    return config.model_copy(update={"generate": config.generate.model_copy(update={"sources": sources})})


def counted(config: Config) -> list[dict[str, Any]]:
    """Return for each source the structures asked for, and how many of them it can give at most."""
    there = as_available(config).generate.sources
    pairs = zip(config.generate.sources, there, strict=True)
    return [{"source": asked.name, "asked": asked.count, "available": found.count} for asked, found in pairs]


def probe(config: Config) -> list[Cost]:
    """Run a few candidates, labels, training steps and steps of MD, and extrapolate by the counts of the config."""
    config = as_available(config)
    workers = config.workers or available_cores()
    structures, generating = _probe_generate(config, workers)
    total = sum(source.count for source in config.generate.sources)
    sample, atoms, atoms_scatter = _sample(config, structures)
    atom_seconds, rate_scatter, labelled = _probe_label(config, sample)
    gpus = _gpus(config)
    labellers = gpus or workers  # two workers of a GPU share it
    label_seconds = atom_seconds * atoms / labellers
    disk = total * BYTES_PER_STRUCTURE + atoms * BYTES_PER_ATOM
    memory = _resident_bytes()
    learning, student = _probe_train(config, labelled)
    seen = 1 - config.dataset.test_fraction
    if config.train.replay is not None:
        seen *= 1 + config.train.replay.for_each_new
    training = learning * atoms * seen * config.train.epochs
    evaluating = 10.0 * atom_seconds * atoms / total * config.evaluate.speed_repeats + 30.0 * config.evaluate.nve_ps
    return [
        replace(generating, what=f"{total} structures", disk_bytes=disk, memory_bytes=memory * workers),
        Cost(
            "label",
            f"{total} structures",
            label_seconds,
            2 * disk,
            memory * workers,
            gpu_seconds=label_seconds * gpus,
            scatter=math.hypot(rate_scatter, atoms_scatter),
        ),
        _audit(config, total, atom_seconds * atoms / total, memory),
        Cost("train", f"{config.train.epochs} epochs", training, 2e7, memory + 4 * disk),
        *_rounds(config, Rates(atom_seconds / labellers, learning, student, labelled), total, atoms / total),
        Cost("evaluate", f"{config.evaluate.nve_ps:g} ps of dynamics each", evaluating, 2e6, memory),
        Cost("deploy", ", ".join(config.deploy.formats), 1.0, 5e6, memory),
    ]


def _audit(config: Config, structures: int, label_seconds: float, memory: float) -> Cost:
    """Return the cost of the audit, which calls the teacher in one process, from the seconds of a label in one thread."""
    from potstill.audit.replay import calls_of_teacher

    asked = config.label.teacher.on_demand
    label_seconds /= 3 if "hessian_vector_products" in config.label.extra else 1  # of which the audit has none
    calls = calls_of_teacher(structures, config.audit.replay_fraction) if asked else 0
    return Cost("audit", f"{calls} calls of the teacher", 0.003 * structures + calls * label_seconds, 1e6, memory)


def _rounds(config: Config, rates: Rates, structures: int, atoms: float) -> list[Cost]:
    """Return the cost of all rounds of active learning, at most: one row, or none without active learning."""
    options = config.active_learning
    if options is None:
        return []
    rounds, labels = options.max_rounds, options.frames
    seconds = seconds_of_rounds(options, rates, structures * (1 - config.dataset.test_fraction), atoms)
    disk = rounds * (structures + 0.5 * rounds * labels) * (BYTES_PER_STRUCTURE + atoms * BYTES_PER_ATOM)
    what = f"{rounds} rounds at most, each {options.trajectories} x {options.length_ps:g} ps of MD and {labels} labels"
    return [Cost("active_learning", what, sum(seconds), disk, _resident_bytes())]


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


def _gpus(config: Config) -> int:
    """Return the number of GPUs that label at the same time; 0 where the teacher runs on none here."""
    from potstill.teacher.batching import gpus_of

    gpus, execute = gpus_of(getattr(config.label.teacher, "device", "cpu")), config.execute
    if gpus and isinstance(execute, Parsl) and execute.accelerators:
        return len(execute.accelerators) * execute.nodes_per_job * execute.jobs
    return gpus


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


def _probe_generate(config: Config, workers: int) -> tuple[list[Structure], Cost]:
    """Return some accepted structures of every source, and the estimated time of all workers for all of them.

    The scatter is that of the accepted share, and of the seconds per candidate between groups. For a program that makes a
    whole chunk it is only the former.
    """
    structures: list[Structure] = []
    seconds = gpu_seconds = variance = 0.0
    for source in config.generate.resolved_sources(config.label.teacher):
        candidates = PROBE_CANDIDATES
        if source.exclusive:  # a program makes a whole chunk; its start-up time is part of every chunk
            candidates = source.candidates_per_task
        else:
            source.propose(range(1), config.seed, structures)  # the first call imports packages
        accepted: list[Structure] = []
        spent: list[float] = []
        for some in _groups(range(candidates), 1 if source.exclusive else PROBE_GROUPS):
            started = time.perf_counter()
            proposals = [p for p in source.propose(some, config.seed, structures) if isinstance(p, Structure)]
            accepted += [s for s in proposals if isinstance(config.generate.filter.screen(s), Structure)]
            spent.append(time.perf_counter() - started)
        needed = _candidates_needed(source, candidates, len(accepted))
        its_seconds = sum(spent) * needed / candidates / (1 if source.exclusive else workers)
        share = max(len(accepted), 0.5) / candidates
        variance += its_seconds**2 * (_standard_error(spent) ** 2 + (1 - share) / (share * candidates))
        seconds += its_seconds
        gpu_seconds += its_seconds if source.exclusive and _has_gpu(source) else 0.0
        structures += [s.with_(source=source.name, family=s.family or s.formula) for s in accepted]
    if not structures:
        raise PotstillError("the probe made no structure from any source; check 'elements' and 'max_atoms'")
    scatter = math.sqrt(variance) / seconds
    return structures, Cost("generate", "", seconds, 0.0, 0.0, gpu_seconds=gpu_seconds, scatter=scatter)


def _has_gpu(source: SourceOptions) -> bool:
    from potstill.teacher.batching import pick_device

    return "cuda" in str(pick_device(getattr(source, "device", "cpu")))


def _groups(items: Sequence[Any], count: int) -> list[Sequence[Any]]:
    size = math.ceil(len(items) / count)
    return [items[k : k + size] for k in range(0, len(items), size)]


def _standard_error(values: Sequence[float]) -> float:
    """Return the standard error of the mean, as a share of the mean; 0 for a single value."""
    return float(np.std(values, ddof=1) / np.mean(values) / math.sqrt(len(values))) if len(values) > 1 else 0.0


def _candidates_needed(source: SourceOptions, candidates: int, accepted: int) -> float:
    needed = source.count * candidates / max(accepted, 0.5)
    available = source.available()
    return needed if available is None else min(needed, available)


def _sample(config: Config, structures: Sequence[Structure]) -> tuple[list[Structure], float, float]:
    """Return structures drawn by the shares of their sources, the atoms of the whole run, and the scatter of these."""
    counts = {source.name: source.count for source in config.generate.sources}
    probed = Counter(s.source for s in structures)
    weight = np.array([counts[s.source] / probed[s.source] for s in structures])
    share = weight / weight.sum()
    sizes = np.array([len(s) for s in structures], dtype=float)
    mean = float(share @ sizes)
    scatter = math.sqrt(float(share @ (sizes - mean) ** 2) * float(share @ share)) / mean
    atoms = mean * sum(counts.values())
    chosen = np.random.default_rng(config.seed).choice(len(structures), PROBE_LABELS, p=share)
    return [structures[k] for k in chosen], atoms, scatter


def _probe_label(config: Config, sample: Sequence[Structure]) -> tuple[float, float, list[Structure]]:
    """Return seconds per atom in one thread, with all further labels, their scatter between groups, and the structures."""
    import torch

    from potstill.teacher.extras import add_extras
    from potstill.teacher.opening import open_teacher

    asked = config.label.teacher
    teacher = open_teacher(asked, supervised=asked.on_demand)  # labels of files never leave this process
    committee = [open_teacher(member, supervised=True) for member in config.label.committee]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        teacher.label(sample[:1])
        answers: list[Labels | Refused] = []
        rates: list[float] = []
        for some in _groups(sample, PROBE_GROUPS):
            started = time.perf_counter()
            answers += add_extras(config.label.extra, teacher, committee, some, teacher.label(some))
            rates.append((time.perf_counter() - started) / sum(map(len, some)))
    finally:
        torch.set_num_threads(threads)
    labelled = [s.with_(labels=a) for s, a in zip(sample, answers, strict=True) if isinstance(a, Labels)]
    refused = [a for a in answers if isinstance(a, Refused)]
    if len(refused) == len(answers):
        why = f"{refused[0].reason}: {refused[0].detail}"
        raise PotstillError(f"the teacher labelled none of the {len(answers)} probed structures\n  first refusal: {why}")
    return float(np.mean(rates)), _standard_error(rates), labelled


def _probe_train(config: Config, labelled: Sequence[Structure]) -> tuple[float, Student]:
    """Return the seconds of training for one atom in one epoch, and the student that was trained."""
    from potstill.train.job import TrainJob
    from potstill.train.stage import train_student

    size = config.train.batch_structures
    records = Records.of([labelled[k % len(labelled)] for k in range(size * PROBE_STEPS)])
    with tempfile.TemporaryDirectory() as folder:
        short = config.train.model_copy(update={"epochs": 1, "learning_rate": 1e-3})  # no range test in the timed part
        first = records.gather(np.arange(size))
        job = TrainJob(training=first, student=config.student, config=short, folder=Path(folder), seed=0)
        train_student(job)
        started = time.perf_counter()
        student = train_student(replace(job, training=records, folder=Path(folder) / "timed"))
        return (time.perf_counter() - started) / int(records.ptr[-1]), student


def _resident_bytes() -> float:
    import psutil

    return float(psutil.Process(os.getpid()).memory_info().rss)
