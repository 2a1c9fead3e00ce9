"""The stage ``generate``: sources in, ``structures/structures.h5`` out.

Candidates are numbered; a task makes a range of them and seals a part file, so the result does not depend on the number
of workers, and a killed run goes on where it was. The door is walked through in order, by one process: bad geometry and
copies are refused, with reasons, until each source has its count or has no more to give.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from potstill.dataset import Dataset, merge, write_part
from potstill.errors import InputError, PotstillError
from potstill.execute import run_tasks
from potstill.generate.door import Door, DoorOptions
from potstill.generate.program import logs_in
from potstill.generate.source import SourceOptions
from potstill.types import Refused, Structure

if TYPE_CHECKING:
    from potstill.config import GenerateConfig

log = logging.getLogger(__name__)
CANDIDATES_PER_ROUND = 8192
GIVE_UP_AFTER = 50  # candidates for each structure wanted
MOST_FAILED_BATCHES = 5  # of a program, in a row and without a single structure


@dataclass(frozen=True, slots=True)
class GenerateTask:
    """Candidates ``start … stop`` of one source, to be sealed at ``path``."""

    source: SourceOptions
    start: int
    stop: int
    seed: int
    door: DoorOptions
    path: Path
    parents: Path | None = None


@dataclass(slots=True)
class SourceCount:
    """What one source was asked for and gave; ``made`` counts candidates of good geometry, copies among them."""

    name: str
    wanted: int
    made: int = 0
    accepted: int = 0
    refused: dict[str, int] = field(default_factory=dict)


def generate(
    config: GenerateConfig,
    folder: Path,
    *,
    seed: int,
    workers: int,
    on_progress: Callable[[SourceCount], None] = lambda count: None,
) -> list[SourceCount]:
    """Make the structures of every source.

    Parameters
    ----------
    config
        Section ``generate`` of the config.
    folder
        ``structures/`` of the run; parts that are already there are used.
    seed, workers
        Seed of every random number, and processes to use.
    on_progress
        Called whenever a source has advanced.

    Returns
    -------
    list of SourceCount
        In the order of the config.

    Raises
    ------
    InputError
        If a source lacks a package, an environment or weights.
    PotstillError
        If no source gave a single structure.
    """
    sources = config.resolved_sources()
    missing = [fault for source in sources if (fault := source.missing()) is not None]
    if missing:
        raise InputError("a source cannot run here:\n" + "\n".join(f"  {fault}" for fault in missing))
    target = folder / "structures.h5"
    door = Door()
    counts = []
    parts: list[Path] = []
    for source in sources:
        count = SourceCount(source.name, source.count)
        counts.append(count)
        accepted, refused = _fill(source, config.door, folder, seed, workers, door, count, parts, on_progress)
        part = folder / f"{source.name}.h5"
        write_part(part, accepted, refused, attributes={"source": source.name})
        parts.append(part)
        if count.accepted < count.wanted:
            log.warning("source %s gave %d of %d structures: %s", *_shortfall(count))
    if not any(count.accepted for count in counts):
        raise PotstillError("no source gave a single structure; the reasons are in structures/*.h5 under 'refused'")
    merge(parts, target, attributes={"seed": seed})
    return counts


def _fill(
    source: SourceOptions,
    options: DoorOptions,
    folder: Path,
    seed: int,
    workers: int,
    door: Door,
    count: SourceCount,
    parents: Sequence[Path],
    on_progress: Callable[[SourceCount], None],
) -> tuple[list[Structure], list[Refused]]:
    parents_path = None
    if source.derived:
        parents_path = folder / "parts" / f"{source.name}-parents.h5"
        merge(parents, parents_path, attributes={})
    accepted: list[Structure] = []
    refused: list[Refused] = []
    failed = 0
    for task in _tasks_until_full(source, options, folder, seed, workers, parents_path, count, on_progress):
        part = Dataset(task.path)
        refused += part.refused
        for structure in part:
            if count.accepted == count.wanted:
                break
            refusal = door.admit(structure)
            if refusal is None:
                accepted.append(structure)
                count.accepted += 1
            else:
                refused.append(refusal)
        count.refused = _by_reason(refused)
        failed = failed + 1 if _program_failed(part) else 0
        if failed == MOST_FAILED_BATCHES:
            log.warning(
                "source %s is given up: %d batches in a row failed, %s", source.name, failed, part.refused[-1].detail
            )
            break
    on_progress(count)
    return accepted, refused


def _program_failed(part: Dataset) -> bool:
    """Whether a task gave nothing, and not for want of good candidates."""
    return len(part) == 0 and all(refusal.reason.startswith("program_") for refusal in part.refused)


def _tasks_until_full(
    source: SourceOptions,
    options: DoorOptions,
    folder: Path,
    seed: int,
    workers: int,
    parents: Path | None,
    count: SourceCount,
    on_progress: Callable[[SourceCount], None],
) -> Iterator[GenerateTask]:
    """Finished tasks in order, more and more of them, until the count is reached or the source has no more."""

    def done(_task: GenerateTask, made: int) -> None:
        count.made += made
        on_progress(count)

    limit = source.available() or source.count * GIVE_UP_AFTER
    start = 0
    while start < limit and count.accepted < count.wanted:
        missing = count.wanted - count.accepted
        # as many as the share accepted so far asks for, so that a source needs few rounds of workers
        share = max(count.accepted / start, 1 / GIVE_UP_AFTER) if start else 1.0
        more = 1 if source.exclusive else min(math.ceil(1.1 * missing / share), CANDIDATES_PER_ROUND)
        stop = min(limit, start + math.ceil(more / source.candidates_per_task) * source.candidates_per_task)
        size = source.candidates_per_task
        tasks = [
            GenerateTask(
                source=source,
                start=k,
                stop=min(k + size, stop),
                seed=seed,
                door=options,
                path=folder / "parts" / f"{source.name}-{k:08d}-{min(k + size, stop):08d}.h5",
                parents=parents,
            )
            for k in range(start, stop, size)
        ]
        run_tasks(
            make_candidates,
            [task for task in tasks if not task.path.exists()],
            workers=1 if source.exclusive else workers,
            on_done=done,
        )
        yield from tasks
        start = stop


def make_candidates(task: GenerateTask) -> int:
    """Make, screen and seal the candidates of one task (runs in a worker); returns how many have a good geometry."""
    parents: Sequence[Structure] = Dataset(task.parents) if task.parents else ()
    indices = range(task.start, task.stop)
    accepted: list[Structure] = []
    refused: list[Refused] = []
    with logs_in(task.path.parent.parent / "logs"):
        proposals = task.source.propose(indices, task.seed, parents)
    for index, proposal in zip(indices, proposals, strict=True):
        name = f"{task.source.name}-{index:06d}"
        screened = task.door.screen(proposal) if isinstance(proposal, Structure) else proposal
        if isinstance(screened, Refused):
            refused.append(Refused(screened.reason, screened.detail, id=name, source=task.source.name, stage="generate"))
        else:
            family = screened.family or screened.formula
            positions = screened.positions.astype(np.float32)  # what is stored is what will be labelled
            accepted.append(screened.with_(id=name, source=task.source.name, family=family, positions=positions))
    write_part(task.path, accepted, refused)
    return len(accepted)


def _by_reason(refused: Sequence[Refused]) -> dict[str, int]:
    reasons = [r.reason for r in refused]
    return {reason: reasons.count(reason) for reason in sorted(set(reasons))}


def _shortfall(count: SourceCount) -> tuple[str, int, int, str]:
    reasons = ", ".join(f"{n} {reason}" for reason, n in count.refused.items()) or "it has no more"
    return count.name, count.accepted, count.wanted, reasons
