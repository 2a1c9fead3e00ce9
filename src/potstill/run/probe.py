"""The cost of each stage of a run, from a short measured probe of generation, labels, training and MD.

The input is a config, the output seconds, GPU time, bytes and memory. The run folder is not changed. A scatter is the
standard error from the spread within the probe, without the variation of the machine.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from potstill.config import Config
from potstill.core.errors import PotstillError
from potstill.core.types import Labels, Refused, Structure
from potstill.dataset import Records, open_file
from potstill.execute import available_cores
from potstill.execute.options import Parsl
from potstill.generate.mix import with_what_there_is
from potstill.generate.source import SourceOptions
from potstill.run.probe_rounds import Rates, seconds_of_rounds
from potstill.run.subruns import subrun_configs

if TYPE_CHECKING:
    from potstill.student.model import Student

PROBE_CANDIDATES = 12
PROBE_LABELS = 24
PROBE_STEPS = 3
PROBE_GROUPS = 3
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


def as_available(config: Config) -> Config:
    """Return the config with the counts of the user's own files limited to the structures that they hold."""
    sources = tuple(with_what_there_is(config.generate.sources))
    return config.model_copy(update={"generate": config.generate.model_copy(update={"sources": sources})})


def probe(config: Config) -> list[Cost]:
    """Run a few candidates, labels, training steps and steps of MD, and extrapolate by the counts of the config."""
    config = as_available(config)
    workers = config.workers or available_cores()
    structures, generating = _probe_generate(config, workers)
    total, asked = sum(source.count for source in config.generate.sources), asked_labels(config)
    sample, atoms, atoms_scatter = _sample(config, structures)
    atom_seconds, rate_scatter, labelled, start = _probe_label(config, sample)
    gpus = _gpus(config)
    labellers = gpus or workers  # two workers of a GPU share it
    labelled_atoms = atoms * asked / total
    label_seconds = atom_seconds * labelled_atoms / labellers
    memory = _resident_bytes()
    learning, student = _probe_train(config, labelled)
    seen = 1 - config.dataset.test_fraction
    if config.train.replay is not None:
        there_are = len(open_file(config.train.replay.dataset)) / max(asked * seen, 1.0)
        seen *= 1 + min(config.train.replay.for_each_new, there_are)
    training = learning * labelled_atoms * seen * config.train.epochs
    evaluating = start + 10.0 * atom_seconds * atoms / total * config.evaluate.speed_repeats + 30.0 * config.evaluate.nve_ps
    labelling = start + label_seconds + _committee_seconds(config, labelled, atoms / total)
    stored = asked * BYTES_PER_STRUCTURE + labelled_atoms * BYTES_PER_ATOM
    return [
        replace(
            generating,
            what=f"{total} structures",
            disk_bytes=total * BYTES_PER_STRUCTURE + atoms * BYTES_PER_ATOM,
            memory_bytes=memory * workers,
        ),
        Cost(
            "label",
            f"{asked} structures",
            labelling,
            2 * stored,
            memory * workers,
            gpu_seconds=label_seconds * gpus,
            scatter=math.hypot(rate_scatter, atoms_scatter) * label_seconds / max(labelling, 1e-9),
        ),
        _audit(config, asked, start, atom_seconds * atoms / total, memory),
        Cost("train", f"{config.train.epochs} epochs", training, 2e7, memory + 4 * stored),
        *_rounds(config, Rates(atom_seconds / labellers, learning, student, labelled, start), asked, atoms / total),
        Cost("evaluate", f"{config.evaluate.nve_ps:g} ps of dynamics each", evaluating, 2e6, memory),
        Cost("deploy", ", ".join(config.deploy.formats), 1.0, 5e6, memory),
    ]


def asked_labels(config: Config) -> int:
    """Return the number of structures that the teacher is asked for, which ``label.select`` chooses in each batch."""
    select, runs = config.label.select, subrun_configs(config) if config.batches else [config]
    counts = [sum(source.count for source in run.generate.sources) for run in runs]
    return sum(counts if select is None else map(select.wanted, counts))


def _committee_seconds(config: Config, labelled: Sequence[Structure], atoms: float) -> float:
    """Return the seconds in which the students are trained that choose structures for labels; 0 where none do.

    Parameters
    ----------
    config
        Config of the run.
    labelled
        Structures to train on in the probe.
    atoms
        Mean number of atoms of a structure.
    """
    if config.label.select is None or config.label.select.by != "committee":
        return 0.0
    from potstill.active_learning.committee import LOOKED_AT, MEMBERS, member_options

    student, train = member_options(len(labelled), config.student.cutoff_angstrom)
    learning, _ = _probe_train(config.model_copy(update={"student": student, "train": train}), labelled)
    return max(1, len(config.batches)) * MEMBERS * LOOKED_AT * atoms * learning


def _audit(config: Config, structures: int, start: float, label_seconds: float, memory: float) -> Cost:
    """Return the cost of the audit, which starts the teacher in one process, from the seconds of a label in one thread."""
    from potstill.audit.replay import calls_of_teacher

    asked = config.label.teacher.on_demand
    label_seconds /= 3 if "hessian_vector_products" in config.label.extra else 1  # of which the audit has none
    calls = calls_of_teacher(structures, config.audit.replay_fraction) if asked else 0
    return Cost(
        "audit", f"{calls} calls of the teacher", start * asked + 0.003 * structures + calls * label_seconds, 1e6, memory
    )


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


def _gpus(config: Config) -> int:
    """Return the number of GPUs that label at the same time; 0 where the teacher runs on none here."""
    from potstill.teacher.batching import gpus_of

    gpus, execute = gpus_of(getattr(config.label.teacher, "device", "cpu")), config.execute
    if gpus and isinstance(execute, Parsl) and execute.accelerators:
        return len(execute.accelerators) * execute.nodes_per_job * execute.jobs
    return gpus


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


def _probe_label(config: Config, sample: Sequence[Structure]) -> tuple[float, float, list[Structure], float]:
    """Return seconds per atom, their scatter between groups, the structures, and the seconds of the start of a teacher.

    Seconds per atom are those of one thread, with all further labels.
    """
    import torch

    from potstill.teacher.extras import add_extras
    from potstill.teacher.opening import open_teacher

    asked, began = config.label.teacher, time.perf_counter()
    teacher = open_teacher(asked, supervised=asked.on_demand)  # labels of files never leave this process
    committee = [open_teacher(member, supervised=True) for member in config.label.committee]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        teacher.label(sample[:1])
        start = time.perf_counter() - began
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
    return float(np.mean(rates)), _standard_error(rates), labelled, start


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
