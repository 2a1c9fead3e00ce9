"""Duplicates: the same atoms twice, or the same distances in another order, orientation or cell."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from potstill.audit.evidence import Evidence
from potstill.audit.registry import check
from potstill.core.types import Array
from potstill.core.verdict import Finding, at_most
from potstill.generate.filter import NEAR_DUPLICATE_ANGSTROM
from potstill.stats import Statistics


@check(
    "duplicates",
    unit="structures",
    gates=("max_duplicates",),
    mend="leave out the copies{of} with  potstill dataset subset  and its list of ids",
)
def duplicates(evidence: Evidence) -> Finding:
    """Count structures whose numbers, positions and cell are those of an earlier one, to 1e-4 Å."""
    _, first = np.unique(evidence.stats.hashes, return_index=True)
    repeated = np.setdiff1d(np.arange(len(evidence.stats)), first)
    copies = [evidence.stats.ids[k] for k in repeated]
    why = f"{len(copies)} repeat the atoms of another structure" if copies else "every structure differs from all others"
    return at_most("duplicates", len(copies), evidence.gates.max_duplicates, "structures", why, copies)


@check(
    "duplicates",
    unit="structures",
    gates=("max_near_duplicates",),
    mend="leave out the copies{of}; the geometry filter of a run removes them",
)
def near_duplicates(evidence: Evidence) -> Finding:
    """Count structures with the distances of another, whatever rotation, permutation, cell choice and supercell."""
    copies = [evidence.stats.ids[k] for k in np.unique(near_pairs(evidence.stats)[:, 1])]
    why = f"neighbor distances, means and extremes, within {NEAR_DUPLICATE_ANGSTROM} Å of those of another structure"
    return at_most("near_duplicates", len(copies), evidence.gates.max_near_duplicates, "structures", why, copies)


def near_pairs(stats: Statistics, within: float = NEAR_DUPLICATE_ANGSTROM) -> Array:
    """Return (p, 2) indices, the earlier first, of structures of one composition whose fingerprints differ by less.

    The rows of a composition are sorted by the distance that varies most: only neighbors in that order can be near.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for k, formula in enumerate(stats.formulas):
        groups[formula].append(k)
    found = [_near_in_group(stats, np.array(members), within) for members in groups.values() if len(members) > 1]
    return np.concatenate(found) if found else np.zeros((0, 2), np.int64)


def _near_in_group(stats: Statistics, members: Array, within: float) -> Array:
    rows = np.stack([stats.fingerprint(k) for k in members])
    whole = np.isfinite(rows).all(axis=1)
    members, rows = members[whole], rows[whole]
    pairs: list[Array] = []
    if len(members) > 1:
        column = rows[:, rows.std(axis=0).argmax()]
        order = np.argsort(column, kind="stable")
        members, rows, column = members[order], rows[order], column[order]
        for offset in range(1, len(members)):
            near = np.flatnonzero(column[offset:] - column[:-offset] < within)
            if not len(near):
                break
            near = near[np.abs(rows[near + offset] - rows[near]).max(axis=1) < within]
            pairs.append(np.sort(np.column_stack([members[near], members[near + offset]]), axis=1))
    return np.concatenate(pairs) if pairs else np.zeros((0, 2), np.int64)
