"""Methods that frames state by a key such as ``functional``: energies of two methods do not fit each other."""

from __future__ import annotations

import re
from collections import Counter

from potstill.core.counts import several
from potstill.core.types import Structure
from potstill.dataset.inputs.known import IGNORED, METHOD

SHOWN = 4
COMPARED_BY_LABELS = "head"  # see potstill.dataset.inputs.first_labels
LETTER = re.compile(r"[^\W\d_]")


class Methods:
    """Numbers of labelled structures of each method, by the remarks about their frames."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, structure: Structure) -> None:
        """Count a structure if it has labels; without a method in its remarks it may be of any."""
        if structure.labels is None:
            return
        remarks = structure.generator_metadata.get("remarks", ())
        names = [word for remark in remarks if remark.startswith(IGNORED) for word in remark[len(IGNORED) :].split(", ")]
        pairs = [name.partition("=") for name in names]
        values = [
            value
            for key, _, value in pairs
            if METHOD.fullmatch(key) and key.lower() != COMPARED_BY_LABELS and LETTER.search(value)  # a number counts models
        ]
        if values:
            self._counts[" ".join(dict.fromkeys(values))] += 1

    def remark(self) -> list[str]:
        """Return one remark with the methods and their numbers of structures; none where there is one method at most."""
        if len(self._counts) < 2:
            return []
        (first, count), *others = self._counts.most_common()
        shown = [f"{first} ({several(count, 'structure')})", *(f"{name} ({n})" for name, n in others[: SHOWN - 1])]
        more = f" and {len(others) + 1 - SHOWN} more" if len(others) >= SHOWN else ""
        return [f"labels of {len(others) + 1} methods: {', '.join(shown)}{more}; keep those of one"]
