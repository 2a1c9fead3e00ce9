"""The mix: the number of structures wanted of each source, and the replacement of generative sources that fail.

Takes the sources of the config and returns the same sources with other counts. The total stays the same.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from potstill.core.errors import InputError, PotstillError
from potstill.core.section import Section
from potstill.generate.source import Kind, SourceOptions

KINDS: tuple[Kind, ...] = ("traditional", "generative", "benchmark")
JUDGED_AFTER = 64  # candidates
MIX_FILE = "mix.json"  # file in structures/ of a run


class Contingency(Section):
    """Shares by kind of source, used with ``--fallback`` only, once a generative source is missing or fails."""

    traditional: Annotated[
        float, Field(ge=0, le=1, description="share of structures from sources without a generative model, 0 to 1")
    ] = 0.8
    generative: Annotated[
        float, Field(ge=0, le=1, description="share of structures from the generative sources that work, 0 to 1")
    ] = 0.1
    benchmark: Annotated[float, Field(ge=0, le=1, description="share of structures from benchmark sets, 0 to 1")] = 0.1
    min_success: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="smallest share of a generative source's candidates that must become structures; below, the "
            "source has failed",
        ),
    ] = 0.3

    @model_validator(mode="after")
    def _whole(self) -> Contingency:
        if abs(self.traditional + self.generative + self.benchmark - 1) > 1e-9:
            raise ValueError("the sum of traditional, generative and benchmark must be 1")
        return self


@dataclass(frozen=True, slots=True)
class Mix:
    """Number of structures wanted of each source.

    Parameters
    ----------
    counts
        Counts by name of the source; 0 for a source that is left out.
    failed
        Reasons by name of each generative source that is left out; empty where the config is followed.
    """

    counts: dict[str, int]
    failed: dict[str, str] = field(default_factory=dict)

    def apply(self, sources: Sequence[SourceOptions]) -> list[SourceOptions]:
        """Return the sources that are wanted, with their counts."""
        return [s.model_copy(update={"count": self.counts[s.name]}) for s in sources if self.counts[s.name]]

    def sentence(self) -> str:
        """Return the first sentence of a report; empty where the config is followed."""
        if not self.failed:
            return ""
        reasons = "; ".join(f"{name}: {why.splitlines()[0]}" for name, why in self.failed.items())
        return f"This is the contingency mix, not the one that the config asks for ({reasons}): {self.amounts()}."

    def amounts(self) -> str:
        """Return counts and names, such as ``"800 crystals, 100 benchmark"``."""
        return ", ".join(f"{count:,} {name}" for name, count in self.counts.items() if count)


class SourceFailedError(PotstillError):
    """A generative source is missing, or too few of its candidates become structures."""

    def __init__(self, instead: Mix) -> None:
        faults = [f"the generative source '{name}' cannot be used: {why}" for name, why in instead.failed.items()]
        super().__init__("\n".join([*faults, f"take the contingency mix instead with --fallback: {instead.amounts()}"]))


def with_what_there_is(sources: Sequence[SourceOptions]) -> list[SourceOptions]:
    """Limit the count of each of the user's own sources to the number of structures in its files.

    Raises
    ------
    InputError
        If the files of a source hold none that can be read.
    """
    return [_no_more_than(source, source.available()) if source.kind == "own" else source for source in sources]


def _no_more_than(source: SourceOptions, available: int | None) -> SourceOptions:
    return source if available is None else source.model_copy(update={"count": min(source.count, available)})


def as_asked(sources: Sequence[SourceOptions]) -> Mix:
    """Return the mix with the counts of the config."""
    return Mix({source.name: source.count for source in sources})


def together(mixes: Sequence[Mix]) -> Mix:
    """Sum the mixes of several runs; a source that failed in one of them has failed."""
    counts = Counter[str]()
    for mix in mixes:
        counts.update(mix.counts)
    return Mix(dict(counts), {name: why for mix in mixes for name, why in mix.failed.items()})


def contingency(sources: Sequence[SourceOptions], shares: Contingency, failed: Mapping[str, str]) -> Mix:
    """Return the mix without the sources that failed.

    Each kind gets its share of the total, divided among its sources as the config divides it. The traditional sources get
    the rest of a kind that has no working source or too few structures. The user's own files (``kind`` ``"own"``) keep their
    count and are not part of the total.

    Parameters
    ----------
    sources
        Sources of the config, the failed ones among them.
    shares
        Shares by kind.
    failed
        Reasons by name of the source.

    Raises
    ------
    InputError
        If the config has no traditional source.
    """
    working = {kind: [s for s in sources if s.kind == kind and s.name not in failed] for kind in KINDS}
    if not working["traditional"]:
        raise InputError(
            f"{'; '.join(f'{name}: {why}' for name, why in failed.items())}\n"
            "  and the config has no traditional source to replace it; add one, such as\n"
            "    - source: crystals\n      count: 100"
        )
    total = sum(s.count for s in sources if s.kind in KINDS)
    counts = {s.name: s.count if s.kind == "own" else 0 for s in sources}
    left = total
    for kind in ("generative", "benchmark"):
        wanted = round(getattr(shares, kind) * total)
        most = {s.name: s.available() for s in working[kind]}
        for name, count in _divided(wanted, working[kind]).items():
            limit = most[name]
            counts[name] = count if limit is None else min(count, limit)
            left -= counts[name]
    counts.update(_divided(left, working["traditional"]))
    return Mix(counts, dict(failed))


def without_missing(sources: Sequence[SourceOptions], shares: Contingency, mix: Mix) -> Mix:
    """Return the mix without generative sources that cannot run here; the same mix where none is missing."""
    missing = {s.name: why for s in mix.apply(sources) if s.kind == "generative" and (why := s.missing()) is not None}
    return contingency(sources, shares, {**mix.failed, **missing}) if missing else mix


def too_few(source: SourceOptions, candidates: int, accepted: int, shares: Contingency) -> str | None:
    """Return the reason for which a generative source has failed, judged from 64 candidates on; None where it has not."""
    if source.kind != "generative" or candidates < JUDGED_AFTER or accepted >= shares.min_success * candidates:
        return None
    return f"{accepted} of its first {candidates} candidates became structures, expected at least {shares.min_success:.0%}"


def read_mix(path: Path) -> Mix | None:
    """Read the mix of an earlier start of the run; None where there is none."""
    return Mix(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def as_json(mix: Mix) -> str:
    """Return the text of ``structures/mix.json``."""
    return json.dumps(asdict(mix), indent=2, ensure_ascii=False)


def _divided(total: int, sources: Sequence[SourceOptions]) -> dict[str, int]:
    """Divide a total among sources in proportion to their counts, by the largest remainder."""
    if not sources:
        return {}
    exact = np.array([s.count for s in sources], dtype=float)
    exact *= total / exact.sum()
    counts = np.floor(exact).astype(int)
    counts[np.argsort(-(exact - counts), kind="stable")[: total - counts.sum()]] += 1
    return {s.name: int(count) for s, count in zip(sources, counts, strict=True)}
