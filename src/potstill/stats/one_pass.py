"""One pass over a dataset: one process for each core measures ranges of structures, and their arrays are joined.

The input is a :class:`~potstill.dataset.Dataset`, the output a :class:`~potstill.stats.table.Statistics`.
Memory holds the result and one range for each process.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from potstill.core.types import Array
from potstill.dataset import Dataset
from potstill.execute import available_cores, run_tasks
from potstill.stats.measure import Range, measure
from potstill.stats.siblings import Siblings, compare_siblings, sibling_groups
from potstill.stats.table import WIDTH, Statistics

STRUCTURES_AT_ONCE = 4096
ONE_PROCESS_BELOW = 8192  # structures: they are measured before another process has started
FLOATS = (
    *("energy_per_atom", "largest_force", "mean_force", "pressure", "net_force", "net_torque"),
    *("largest_stress", "stress_asymmetry"),
)
WORK = ("work_gap", "work_bound", "work", "energy_change", "sibling")


def collect(dataset: Dataset, *, workers: int | None = None) -> Statistics:
    """Read every structure once and return the statistics.

    Parameters
    ----------
    dataset
        Dataset with or without labels.
    workers
        Number of processes; one per core if None. This process reads small files itself.
    """
    count = len(dataset)
    processes = 1 if count < ONE_PROCESS_BELOW else available_cores() if workers is None else workers
    path = dataset.path.resolve()
    tasks = [Range(path, a, min(a + STRUCTURES_AT_ONCE, count)) for a in range(0, count, STRUCTURES_AT_ONCE)]
    found: dict[int, dict[str, Array]] = {}
    run_tasks(measure, tasks, workers=processes, on_done=lambda task, rows: found.update({task.start: rows}))
    columns = _joined([found.pop(start) for start in sorted(found)])
    lengths = columns.pop("fingerprint_lengths")
    columns |= {"fingerprint_ptr": np.concatenate([[0], np.cumsum(lengths)])}
    columns |= _without_labels(count) if not dataset.labelled else {}
    columns |= _work(dataset, path, processes)
    return Statistics(
        ids=dataset.ids.tolist(),
        sources=dataset.sources.tolist(),
        families=dataset.families.tolist(),
        formulas=columns.pop("formulas").tolist(),
        labelled=dataset.labelled,
        **columns,
    )


def collect_once(dataset: Dataset, kept: Path, *, workers: int | None = None) -> Statistics:
    """Return the result of :func:`collect`, from a file if it is kept there for the same checksums of the dataset.

    Only datasets that state checksums and agree with them use the kept file. A damaged dataset is measured again.
    """
    sums = json.loads(dataset.attributes.get("checksums", "{}"))
    if not sums or dataset.verify():
        return collect(dataset, workers=workers)
    key = hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()
    stats = Statistics.load(kept, key)
    if stats is None:
        stats = collect(dataset, workers=workers)
        stats.save(kept, key)
    return stats


def _joined(parts: list[dict[str, Array]]) -> dict[str, Array]:
    if not parts:
        return _nothing()
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _nothing() -> dict[str, Array]:
    """Return the columns of a dataset without structures."""
    geometry = ("scaled_distance", "volume_per_atom", "packing", "vacuum", "cell_ratio", "carbon_deficit")
    floats = (*geometry, "fingerprints", "neighbors", "pair_distances")
    whole = ("atoms", "overbonded", "missing_hydrogens", "foreign_atoms", "charge", "pieces", "fingerprint_lengths")
    return {
        **{name: np.zeros(0) for name in floats},
        **{name: np.zeros(0, np.int64) for name in whole},
        **{name: np.zeros(0, bool) for name in ("molecule", "atom_pair")},
        "composition": np.zeros((0, WIDTH), np.uint16),
        "closest_pair": np.zeros((0, 2), np.int64),
        "formulas": np.zeros(0, "U1"),
        "hashes": np.zeros(0, "S16"),
        **_without_labels(0),
    }


def _without_labels(count: int) -> dict[str, Array]:
    empty = {"force_hashes": np.zeros(count, "S16"), "coarse": np.zeros(count, bool)}
    return {**empty, **{name: np.full(count, np.nan) for name in FLOATS}}


def _work(dataset: Dataset, path: Path, processes: int) -> dict[str, Array]:
    rows = np.full((len(dataset), len(WORK)), np.nan)
    groups = sibling_groups(dataset) if dataset.labelled else []

    def keep(_: Siblings, found: tuple[Array, Array]) -> None:
        rows[found[0]] = found[1]

    run_tasks(compare_siblings, list(_shared_out(groups, path)), workers=processes, on_done=keep)
    columns = dict(zip(WORK, rows.T, strict=True))
    columns["sibling"] = np.nan_to_num(columns["sibling"], nan=-1).astype(np.int64)
    return columns


def _shared_out(groups: list[Array], path: Path) -> Iterator[Siblings]:
    """Yield tasks with about the same number of structures each; a very large group is divided."""
    waiting: list[Array] = []
    count = 0
    for whole in groups:
        for group in np.array_split(whole, -(-len(whole) // STRUCTURES_AT_ONCE)):
            waiting.append(group)
            count += len(group)
            if count >= STRUCTURES_AT_ONCE:
                yield Siblings(path, tuple(waiting))
                waiting, count = [], 0
    if waiting:
        yield Siblings(path, tuple(waiting))
