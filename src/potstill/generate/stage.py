"""The stage ``generate``: sources in, ``structures/structures.h5`` out.

Candidates are numbered. A task makes a range of them and seals a part file, so the result does not depend on the number of
workers, and a killed run continues where it stopped. One process applies the geometry filter in order. It refuses bad
geometry and copies, with reasons, until each source has its count or has no more candidates.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from potstill.core.counts import several
from potstill.core.errors import InputError, PotstillError
from potstill.core.files import sealed
from potstill.core.types import Array, Refused
from potstill.dataset import Dataset, merge
from potstill.dataset.inputs.first_labels import TWO_CALCULATIONS
from potstill.dataset.inputs.methods import Methods
from potstill.execute import Executor, LocalExecutor
from potstill.generate.balance import Balance
from potstill.generate.candidates import GenerateTask, make_candidates, number_of, with_file
from potstill.generate.files import Files
from potstill.generate.filter import DuplicateFilter
from potstill.generate.mix import (
    MIX_FILE,
    SourceFailedError,
    as_asked,
    as_json,
    contingency,
    read_mix,
    too_few,
    with_what_there_is,
    without_missing,
)
from potstill.generate.source import SourceOptions
from potstill.generate.source_count import SourceCount, most_frequent
from potstill.generate.teachers import check_teacher
from potstill.teacher.given import is_given

if TYPE_CHECKING:
    from potstill.generate.options import GenerateConfig
    from potstill.teacher.options import TeacherOptions

log = logging.getLogger(__name__)
CANDIDATES_PER_ROUND = 8192
GIVE_UP_AFTER = 50  # number of candidates per structure wanted


def generate(
    config: GenerateConfig,
    folder: Path,
    *,
    seed: int,
    workers: int = 0,
    executor: Executor | None = None,
    fallback: bool = False,
    teacher: TeacherOptions | None = None,
    on_progress: Callable[[SourceCount], None] = lambda count: None,
) -> list[SourceCount]:
    """Make the structures of every source.

    Parameters
    ----------
    config
        Section ``generate`` of the config.
    folder
        Folder ``structures/`` of the run; parts that are already there are used.
    seed, workers
        Seed of every random number, and number of processes on this machine, where 0 means every core.
    executor
        Executor that runs the tasks instead of local processes.
    fallback
        Whether the contingency mix is taken when a generative source is missing or fails; ``mix.json`` records the choice.
    teacher
        Teacher that moves the atoms for the sources that need one and state none. Where it is ``given``, structures keep
        their labels.
    on_progress
        Function called whenever a source has advanced.

    Returns
    -------
    list of SourceCount
        Counts of each source, in the order of the config.

    Raises
    ------
    SourceFailedError
        If a generative source is missing or fails, and ``fallback`` is false.
    InputError
        If another source lacks a package.
    PotstillError
        If no source made a single structure.
    """
    folder = folder.absolute()  # a source may change the current folder of a worker
    asked = config.resolved_sources(teacher)
    sources = with_what_there_is(asked)
    if lacking := config.lacking_runs():
        raise InputError("\n".join(lacking))
    settled = read_mix(folder / MIX_FILE) or as_asked(sources)
    mix = without_missing(sources, config.contingency, settled)
    if mix.failed != settled.failed and not fallback:
        raise SourceFailedError(mix)
    while True:
        if mix.failed:
            log.warning("%s", mix.sentence())
        if mix != as_asked(asked):
            with sealed(folder / MIX_FILE) as temporary:
                temporary.write_text(as_json(mix), encoding="utf-8")
        chosen = mix.apply(sources)
        missing = [fault for source in chosen if (fault := source.missing()) is not None]
        if missing:
            raise InputError("a source cannot run here:\n" + "\n".join(f"  {fault}" for fault in missing))
        _check_teachers(chosen, folder, executor or LocalExecutor(workers))
        labelled = is_given(teacher)
        attempt = _Attempt(config, folder, seed, executor or LocalExecutor(workers), on_progress, labelled=labelled)
        failure = attempt.make(chosen, take_over=bool(mix.failed))
        if failure is None:
            return attempt.counts
        mix = contingency(sources, config.contingency, {**mix.failed, **failure})
        if not fallback:
            raise SourceFailedError(mix)


def _check_teachers(sources: Sequence[SourceOptions], folder: Path, executor: Executor) -> None:
    """Refuse a teacher that lacks a property which its source needs, before anything is made where it is not yet."""
    parts = folder / "parts"
    ahead = [source for source in sources if source.needed_properties and not any(parts.glob(f"{source.name}-*.h5"))]
    executor.run(check_teacher, ahead, on_done=lambda *_: None, isolated=True)


class _Attempt:
    """Runs the sources of one mix, one after the other."""

    def __init__(
        self,
        config: GenerateConfig,
        folder: Path,
        seed: int,
        executor: Executor,
        on_progress: Callable[[SourceCount], None],
        *,
        labelled: bool,
    ) -> None:
        self.counts: list[SourceCount] = []
        self._config = config
        self._folder = folder
        self._seed = seed
        self._labelled = labelled
        self._executor = executor
        self._on_progress = on_progress
        self._duplicates = DuplicateFilter()
        self._earlier = [run / "structures" for run in config.after]
        for earlier in self._earlier:
            for structure in Dataset(earlier / "structures.h5"):
                self._duplicates.admit(structure)
        self._files: list[Path] = []

    def make(self, sources: Sequence[SourceOptions], *, take_over: bool) -> dict[str, str] | None:
        """Fill all sources and merge them; return the name of a generative source that fails, and the reason.

        In a contingency mix a traditional source makes the structures that earlier sources could not make.
        """
        missing = 0
        for asked in sources:
            source = asked
            if take_over and asked.kind == "traditional":
                source, missing = asked.model_copy(update={"count": asked.count + missing}), 0
            count = SourceCount(source.name, source.count)
            self.counts.append(count)
            why = self._fill(source, count)
            if why is not None:
                return {source.name: why}
            missing += count.wanted - count.accepted
            if count.accepted < count.wanted and count.error:
                log.warning("%s", f"source {count.shortfall()}")  # each source by itself on the terminal
            elif count.accepted < count.wanted:
                log.warning("source %s", count.shortfall())
        if not any(count.accepted for count in self.counts):
            raise PotstillError(f"no source made any structure: {self._why_none()}")
        merge(self._files, self._folder / "structures.h5", attributes={"seed": self._seed})
        return None

    def _why_none(self) -> str:
        """Return why no source made a structure: every candidate was refused, or there were none."""
        if any(count.refused for count in self.counts):
            return "the refusals in structures/*.h5 state the reasons"
        names = ", ".join(count.name for count in self.counts)
        if self._earlier:
            return (
                f"the runs in generate.after have taken every candidate of {names}\n"
                "  add sources, or give new structures a label of their own"
            )
        return f"{names} had no candidate"

    def _fill(self, source: SourceOptions, count: SourceCount) -> str | None:
        """Filter candidates until the source is full; return why the source failed, or None."""
        parents = self._parents(source) if source.derived else None
        balance = Balance(self._config.balance, self._seed, source.name)
        paths: list[Path] = []
        taken: list[Array] = []
        refused: list[Refused] = []
        remarks: Counter[str] = Counter()
        methods = Methods()
        earlier = [folder / f"{source.name}.h5" for folder in self._earlier]
        first = stop = max(map(_candidates, earlier), default=0)
        count.earlier = first
        if isinstance(source, Files):
            _refuse_other_frames(source, earlier)
        left: int | None = None  # first candidate that was made and not needed, for a later batch
        for task in self._tasks_until_full(source, parents, count, first):
            stop = task.stop
            part = Dataset(task.path)
            refusals = list(part.refused)
            chosen: list[int] = []
            for k, structure in enumerate(part):
                if count.accepted == count.wanted:
                    left = number_of(structure) if left is None else left
                    break
                refusal = balance.weigh(structure) or self._duplicates.admit(structure)
                if refusal is None:
                    balance.add(structure)
                    chosen.append(k)
                    remarks.update(structure.generator_metadata.get("remarks", ()))
                    methods.add(structure)
                    count.accepted += 1
                else:
                    refusals.append(replace(refusal, detail=with_file(refusal.detail, structure)))
            count.add_refused(refusals, with_details=isinstance(source, Files))
            refused += refusals
            paths.append(task.path)
            taken.append(np.array(chosen, dtype=np.int64))
            why = too_few(source, stop - first, count.accepted, self._config.contingency)
            if why is not None:
                return f"{why} ({count.reasons()})"
        count.error = most_frequent(refused if count.accepted == 0 else [r for r in refused if r.reason == "source_error"])
        self._on_progress(count)
        _refuse_contradictions(source.name, refused)
        for remark in methods.remark():
            log.warning("source %s: %s", source.name, remark)
        for remark, structures in sorted(remarks.most_common(), key=lambda pair: not pair[0].startswith(TWO_CALCULATIONS)):
            log.warning("source %s, %d structures: %s", source.name, structures, remark)
        path = self._folder / f"{source.name}.h5"
        attributes = {"source": source.name, "candidates": stop if left is None else left}
        merge(paths, path, attributes=attributes, chosen=taken, refused=refused)
        self._files.append(path)
        return None

    def _parents(self, source: SourceOptions) -> Path:
        """Merge the structures so far into one file, whose name depends on its content."""
        path = self._folder / "parts" / f"{source.name}-parents.h5"
        merge(self._files, path, attributes={}, refused=())
        digest = hashlib.sha256(Dataset(path).attributes["checksums"].encode()).hexdigest()[:12]
        return path.replace(path.with_name(f"{source.name}-parents-{digest}.h5"))

    def _tasks_until_full(
        self, source: SourceOptions, parents: Path | None, count: SourceCount, first: int
    ) -> Iterator[GenerateTask]:
        """Yield finished tasks in order, more and more of them, until the count is reached or the source has no more."""

        def done(_task: GenerateTask, made: int) -> None:
            count.made += made
            self._on_progress(count)

        available = source.available()
        limit = first + source.count * GIVE_UP_AFTER if available is None else available
        stem = source.name if parents is None else parents.stem.replace("-parents-", "-")
        size = source.candidates_per_task
        start = first
        while start < limit and count.accepted < count.wanted:
            missing = count.wanted - count.accepted
            # as many as the share accepted so far asks for, so that a source needs few rounds of workers
            share = max(count.accepted / (start - first), 1 / GIVE_UP_AFTER) if start > first else 1.0
            more = 1 if source.exclusive else min(math.ceil(1.1 * missing / share), CANDIDATES_PER_ROUND)
            stop = min(limit, start + math.ceil(more / size) * size)
            tasks = [
                GenerateTask(
                    source=source,
                    start=k,
                    stop=min(k + size, stop),
                    seed=self._seed,
                    filter=self._config.filter,
                    path=self._folder / "parts" / f"{stem}-{k:08d}-{min(k + size, stop):08d}.h5",
                    parents=parents,
                    families=self._config.families,
                    labelled=self._labelled,
                )
                for k in range(start, stop, size)
            ]
            self._executor.run(
                make_candidates,
                [task for task in tasks if not task.path.exists()],
                on_done=done,
                isolated=source.needs_teacher,  # which may end its process, or change the current folder
                at_most=1 if source.exclusive else None,
            )
            yield from tasks
            start = stop


def _refuse_contradictions(source: str, refused: Sequence[Refused]) -> None:
    """Refuse a source that holds one structure with two labels.

    Raises
    ------
    PotstillError
        With the first of the structures.
    """
    found = [refusal for refusal in refused if refusal.reason == "contradictory_labels"]
    if found:
        raise PotstillError(
            f"the source {source} holds {several(len(found), 'structure')} twice with different labels; "
            f"first {found[0].id}: {found[0].detail}\n"
            "  leave one of each out: the labels of one level of theory belong together"
        )


def _candidates(path: Path) -> int:
    """Return the number of the first candidate that an earlier run did not use; 0 where it had no such source."""
    return int(Dataset(path).attributes["candidates"]) if path.exists() else 0


def _refuse_other_frames(source: Files, earlier: Sequence[Path]) -> None:
    """Refuse files whose first frames are not those that earlier runs had of them: candidates are numbered on from these.

    Raises
    ------
    InputError
        With the label, and the runs that took other frames under it.
    """
    for path in filter(Path.exists, earlier):
        taken = Dataset(path)
        for k in sorted({0, len(taken) - 1} if len(taken) else set()):
            structure = taken[k]
            if not source.has(number_of(structure), structure):
                raise InputError(
                    f"generate.after: {path.parent.parent} has other frames under the label '{source.name}', and "
                    f"candidates are numbered on from those\n"
                    f"  give the new files a label of their own, such as  label: {source.name}_2"
                )
