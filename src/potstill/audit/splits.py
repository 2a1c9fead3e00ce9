"""Splits: no family and no copy of a structure may be in two parts."""

from __future__ import annotations

import numpy as np

from potstill.audit.asked import generate_section
from potstill.audit.duplicates import near_pairs
from potstill.audit.evidence import Evidence
from potstill.audit.needs import HELD_OUT, SPLIT
from potstill.audit.registry import check
from potstill.core.verdict import Finding, at_most
from potstill.dataset.schema import PARTS


@check("splits", unit="families", needs=(SPLIT, HELD_OUT), mend="split by family again, as a run does by itself")
def split_leakage(evidence: Evidence) -> Finding:
    """Count families that are in more than one part of the split."""
    parts = np.asarray(evidence.dataset.splits)
    _, family = np.unique(np.array(evidence.stats.families, dtype=object).astype(str), return_inverse=True)
    sides = np.zeros((family.max(initial=-1) + 1, len(PARTS)), bool)
    sides[family, parts] = True
    leaked = np.flatnonzero(sides.sum(axis=1) > 1)
    why = "structures: " + ", ".join(f"{name} {int((parts == k).sum())}" for k, name in enumerate(PARTS))
    if generate_section(evidence.dataset.attributes).get("families") == "structure":
        why += "; each structure is a family by itself, so copies of held-out structures are in the training part"
    worst = [evidence.stats.ids[int(np.flatnonzero(family == f)[0])] for f in leaked[:8]]
    return at_most("split_leakage", len(leaked), 0, "families", why, worst)


@check("splits", unit="structures", needs=(SPLIT, HELD_OUT), mend="leave out the copies on one side of the split")
def near_leakage(evidence: Evidence) -> Finding:
    """Count structures with the distances of one in another part of the split."""
    parts = np.asarray(evidence.dataset.splits)
    pairs = near_pairs(evidence.stats)
    across = pairs[parts[pairs[:, 0]] != parts[pairs[:, 1]]]
    copies = np.unique(across[:, 1])
    why = "structures whose neighbor distances are those of one on another side of the split"
    return at_most("near_leakage", len(copies), 0, "structures", why, [evidence.stats.ids[k] for k in copies])
