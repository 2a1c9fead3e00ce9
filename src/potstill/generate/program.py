"""Sources that run external programs in chunks, each of which may fail without the others.

A candidate belongs to the chunk ``index // batch_size``. The seed of a chunk comes from the run's seed, the source's name
and the chunk's number. A failure of a program costs the chunk that it was making. After a crash, a timeout or a half-written
file the missing structures are refused. A chunk that does not fit into memory is made in halves.
"""

from __future__ import annotations

import logging
import tempfile
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from potstill.core.errors import InputError
from potstill.core.section import ExistingPath
from potstill.core.types import Refused, Structure
from potstill.environments import ENVIRONMENTS, Installed, home, installed
from potstill.execute.program import Ended
from potstill.generate.source import Kind, SourceOptions, random_generator

log = logging.getLogger(__name__)

LAUNCHERS = Path(__file__).with_name("launchers")
LARGEST_SEED = 2**31 - 1
_log_folder: ContextVar[Path | None] = ContextVar("log_folder", default=None)


@contextmanager
def logs_in(folder: Path) -> Iterator[None]:
    """Write the output of programs to this folder; without it, to ``logs`` in :func:`potstill.environments.home`."""
    token = _log_folder.set(folder)
    try:
        yield
    finally:
        _log_folder.reset(token)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Number of structures for one run of a program, its seed, and the folder that it may write to."""

    count: int
    seed: int
    folder: Path
    log: Path
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Made:
    """Output of one run of a program: structures and refusals in its order, and how it ended.

    ``broken`` describes files that could not be read to the end.
    """

    answers: Sequence[Structure | Refused]
    ended: Ended
    broken: str = ""


class ProgramSource(SourceOptions):
    """A program in an environment of its own."""

    kind: ClassVar[Kind] = "generative"

    batch_size: Annotated[
        int,
        Field(gt=0, description="number of structures that one run of the program makes; a failure costs this many at most"),
    ] = 32
    device: Annotated[
        str,
        Field(
            pattern=r"^(auto|cpu|cuda:\d+)$",
            description="device of the program: auto, cpu, cuda:0 and so on; auto takes a GPU where there is one",
        ),
    ] = "auto"
    timeout_minutes: Annotated[
        float, Field(gt=0, description="longest time of one run of the program, in minutes; it is stopped then")
    ] = 240.0
    python: Annotated[
        ExistingPath | None,
        Field(description="path of the interpreter of the program's environment; that of 'potstill setup' where null"),
    ] = None
    repository: Annotated[
        ExistingPath | None,
        Field(description="path of the checkout of the program's source code; that of 'potstill setup' where null"),
    ] = None

    @property
    def candidates_per_task(self) -> int:
        return self.batch_size

    @property
    def exclusive(self) -> bool:
        return True

    @property
    def environment(self) -> str:
        """Return the name of its environment, which is that of the source."""
        return str(getattr(self, "source"))  # noqa: B009 - the discriminator lives in the leaf

    @property
    def interpreter(self) -> Path:
        """Return the path of the interpreter that runs the program."""
        return self.python or installed(self.environment).python

    @property
    def checkout(self) -> Path:
        """Return the path of the program's source code."""
        return self.repository or installed(self.environment).repository or Path("repository")

    def missing(self) -> str | None:
        recipe, place = ENVIRONMENTS[self.environment], installed(self.environment)
        mend = f"\n  make it with:  potstill setup {self.environment}"
        if not self.interpreter.is_file():
            return f"the source '{self.name}' has no environment\n  no interpreter at {self.interpreter}{mend}"
        if self.repository is None and place.repository is None:
            return f"the source '{self.name}' has no source code of {self.environment}{mend}"
        lacking = recipe.lacking_files(self.checkout)
        if lacking:
            return (
                f"the source '{self.name}': {self.checkout} is an incomplete checkout, it lacks {', '.join(lacking)}\n"
                f"  clone it with:  git clone {recipe.repository}"
            )
        fault = self._weights_missing(place)
        return f"the source '{self.name}': {fault}" if fault else super().missing()

    def provenance(self, weights: str | None) -> dict[str, str]:
        """Return facts to record: the code's version and, where they are those of the environment, the weights."""
        record = installed(self.environment).record
        commit = record.get("repository", {}).get("commit") if self.repository is None else None
        digest = record.get("weights", {}).get(weights, {}).get("sha256")
        found = {"commit": (commit or "")[:10], "weights": f"sha256:{digest[:16]}" if digest else ""}
        return {name: value for name, value in found.items() if value}

    @classmethod
    @abstractmethod
    def with_weights_of(cls, place: Installed) -> ProgramSource:
        """Return a source of one structure that uses the weights installed in an environment, if there are any."""

    @abstractmethod
    def _weights_missing(self, place: Installed) -> str | None:
        """Return why its weights cannot be used, with the command that fixes it; None where nothing is wrong."""

    @abstractmethod
    def _run(self, chunk: Chunk) -> Made:
        """Run the program once and read its output."""

    def propose(self, indices: Sequence[int], seed: int, parents: Sequence[Structure]) -> list[Structure | Refused]:
        fault = self.missing()
        if fault is not None:
            raise InputError(fault)
        options = self.model_dump_json()
        answers = []
        for index in indices:
            number, place = divmod(index, self.batch_size)
            answers.append(_chunk(type(self), options, seed, number, home())[place])
        return answers


@lru_cache(maxsize=1)  # for callers that ask for one candidate after the other
def _chunk(kind: type[ProgramSource], options: str, seed: int, number: int, _home: Path) -> tuple[Structure | Refused, ...]:
    """Return all candidates of one chunk."""
    source = kind.model_validate_json(options)
    log_file = (_log_folder.get() or home() / "logs") / f"{source.name}-{number:06d}.log"
    log_file.parent.mkdir(parents=True, exist_ok=True)
    log_file.unlink(missing_ok=True)
    rng = random_generator(seed, source.name, number)
    answers: list[Structure | Refused] = []
    size = source.batch_size
    asked = 0
    while asked < source.batch_size:
        count = min(size, source.batch_size - asked)
        with tempfile.TemporaryDirectory(prefix="potstill-", ignore_cleanup_errors=True) as folder:
            made = source._run(
                Chunk(count, int(rng.integers(LARGEST_SEED)), Path(folder), log_file, 60.0 * source.timeout_minutes)
            )
        if made.ended.out_of_memory and len(made.answers) < count and count > 1:
            size = max(1, count // 2)
            log.warning("%s: %d structures do not fit into memory, trying %d; see %s", source.name, count, size, log_file)
            continue
        asked += count
        answers += made.answers[:count]
        short = count - len(made.answers)
        if short > 0:
            refusal = _why_short(made, count, log_file)
            log.warning("%s: %d of %d missing: %s", source.name, short, count, refusal.detail)
            answers += [refusal] * short
    return tuple(source.refuse(a) or a if isinstance(a, Structure) else a for a in answers)


def _why_short(made: Made, count: int, log_file: Path) -> Refused:
    ended = made.ended
    if ended.timed_out:
        reason = "program_timeout"
    elif ended.out_of_memory:
        reason = "program_out_of_memory"
    elif made.broken:
        reason = "program_output_broken"
    elif ended.code != 0:
        reason = "program_crashed"
    else:
        reason = "program_gave_fewer" if made.answers else "program_no_output"
    what = made.broken or f"{len(made.answers)} of {count} structures, {ended.how}"
    said = f"; last line: {ended.last_line[:200]}" if ended.last_line else ""
    return Refused(reason, f"{what}{said}; log: {log_file.name}")
