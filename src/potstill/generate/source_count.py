"""Counts of a source: structures wanted, made and refused, with the reasons."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from potstill.core.types import Refused


@dataclass(slots=True)
class SourceCount:
    """Number of structures wanted of one source, and its results.

    ``earlier`` counts candidates of the runs in ``generate.after``, and ``made`` good candidates and their copies. ``error``
    is the most frequent refusal where the source made nothing or failed itself. ``details`` has the first refusal of each
    reason where the source is the user's own files.
    """

    name: str
    wanted: int
    earlier: int = 0
    made: int = 0
    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    error: str = ""
    details: dict[str, str] = field(default_factory=dict)

    def add_refused(self, refused: Sequence[Refused], *, with_details: bool) -> None:
        """Count refusals by their reasons, and keep the first detail of each reason where asked."""
        for refusal in refused:
            self.refused[refusal.reason] += 1
            if with_details:
                self.details.setdefault(refusal.reason, " ".join(refusal.detail.split()))

    def reasons(self) -> str:
        """Return how many candidates were refused for which reasons, the most frequent first."""
        return ", ".join(f"{n} {reason}" for reason, n in self.refused.most_common())

    def shortfall(self) -> str:
        """Return a sentence that says how many structures are there, and why there are no more."""
        earlier = f"; the runs in generate.after have its first {self.earlier}" if self.earlier else ""
        first = "".join(
            f"; first {reason}: {self.details[reason]}" for reason, _ in self.refused.most_common() if self.details
        )
        error = f"; most often {self.error}" if self.error else first
        why = self.reasons() or "it has no more"
        return f"{self.name} gave {self.accepted} of {self.wanted} structures: {why}{error}{earlier}"


def most_frequent(refused: Sequence[Refused]) -> str:
    """Return the first of the most frequent kind of refusals in one line, whatever numbers it names; empty without any."""
    kinds: dict[str, list[str]] = {}
    for text in (f"{r.reason}: {r.detail}" for r in refused):
        kinds.setdefault(re.sub(r"\d+", "", text), []).append(text)
    return " ".join(max(kinds.values(), key=len, default=[""])[0].split())
