"""Statistics of a dataset file of any size, in one streaming pass: its contents and their distributions.

The input is a :class:`~potstill.dataset.Dataset`, the output a :class:`DatasetStatistics` for JSON, without judgement.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from potstill.core.errors import DatasetError
from potstill.core.types import MAX_ATOMIC_NUMBER, Array
from potstill.dataset.read import Dataset
from potstill.dataset.schema import PARTS
from potstill.dataset.tally import FORCE_EDGES, Moments, Range, Tally, tally
from potstill.execute import available_cores, run_tasks

RELATIVE_CUTOFF = 1e-8  # of singular values, as the reference energies of training have it
ATOMS_PER_WORKER = 500_000  # fewer are measured before another process has started
EXAMPLES = 8


@dataclass(frozen=True, slots=True)
class Distribution:
    """Distribution of finite values.

    Parameters
    ----------
    unit
        Unit of the values.
    count
        Number of values.
    mean, std, smallest, largest
        In that unit; ``std`` divides by ``count``.
    edges, bars
        Histogram: ``bars[k]`` values lie in ``edges[k] <= value < edges[k + 1]``; empty where none is kept.
    """

    unit: str
    count: int
    mean: float
    std: float
    smallest: float
    largest: float
    edges: tuple[float, ...] = ()
    bars: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Shortest:
    """Smallest distance between two elements, in Å, and the structure where it is."""

    angstrom: float
    id: str


@dataclass(frozen=True, slots=True)
class DatasetStatistics:
    """Statistics of the contents of a dataset.

    Parameters
    ----------
    structures, atoms, labelled
        Counts; ``labelled`` are structures.
    splits
        Structures in train, valid and test; empty without a split.
    refused
        Refusals by stage, then by reason.
    duplicate_ids, duplicate_id_examples
        Structures whose id an earlier one has, and some of these ids.
    not_finite
        Structures with a number that is not finite; such numbers are left out of all the rest.
    sources
        Structures by source.
    elements
        Atoms by source, then by chemical symbol.
    element_entropy_bits
        Shannon entropy of the elements over atoms; at most log2 of the number of elements.
    sizes, size_cv
        Atoms per structure, and its standard deviation over its mean.
    energy_per_atom
        eV/atom, as the teacher gives it.
    reference_energies
        eV by chemical symbol: least squares of the energy per atom on the composition, of least norm where compositions do
        not tell elements apart.
    energy_residual_rms
        eV/atom: root mean square of the energy per atom minus the reference energies.
    force_component, force_norm
        eV/Å; over the three components of all atoms, and over atoms.
    stress_component, pressure
        eV/Å^3; over the nine components, and minus a third of the trace, of structures with stress.
    shortest_distances
        By pair of elements such as ``"H-O"``; pairs beyond 5 Å are missing.
    neighbors
        Atoms within 5 Å of an atom, periodic images included.
    """

    structures: int
    atoms: int
    labelled: int
    splits: dict[str, int]
    refused: dict[str, dict[str, int]]
    duplicate_ids: int
    duplicate_id_examples: tuple[str, ...]
    not_finite: int
    sources: dict[str, int]
    elements: dict[str, dict[str, int]]
    element_entropy_bits: float
    sizes: Distribution | None
    size_cv: float
    energy_per_atom: Distribution | None
    reference_energies: dict[str, float]
    energy_residual_rms: float | None
    force_component: Distribution | None
    force_norm: Distribution | None
    stress_component: Distribution | None
    pressure: Distribution | None
    shortest_distances: dict[str, Shortest]
    neighbors: Distribution | None

    def as_dict(self) -> dict[str, Any]:
        """Return plain dictionaries, lists and finite numbers for JSON."""
        return asdict(self)


def dataset_statistics(dataset: Dataset, *, workers: int | None = None) -> DatasetStatistics:
    """Read every structure once and return the statistics.

    Parameters
    ----------
    dataset
        Dataset with or without labels.
    workers
        Number of processes; one per core if None. This process reads small files itself.

    Raises
    ------
    DatasetError
        If a block of the file differs from its checksum, or an atomic number is none.
    """
    names, source = np.unique(dataset.sources.astype(str), return_inverse=True)
    tasks = _ranges(dataset, source, len(names), available_cores() if workers is None else workers)
    tallies: dict[int, Tally] = {}
    run_tasks(tally, tasks, workers=len(tasks), on_done=lambda task, found: tallies.update({task.start: found}))
    total = sum((tallies[start] for start in sorted(tallies)), tally(Range(dataset.path, 0, 0, source[:0], len(names))))
    return _describe(dataset, names.tolist(), np.bincount(source, minlength=len(names)), total)


def _ranges(dataset: Dataset, source: Array, sources: int, workers: int) -> list[Range]:
    """Return one range for each worker, with about the same number of atoms."""
    numbers = dataset.column("atoms/atomic_numbers")
    if len(numbers) and (numbers.min() < 1 or numbers.max() > MAX_ATOMIC_NUMBER):
        raise DatasetError(f"{dataset.path} holds atomic numbers from {numbers.min()} to {numbers.max()}, expected 1 to 118")
    atoms = int(dataset.ptr[-1])
    pieces = max(1, min(workers, atoms // ATOMS_PER_WORKER))
    edges = np.searchsorted(dataset.ptr, np.linspace(0, atoms, pieces + 1)).tolist()
    return [Range(dataset.path.resolve(), a, b, source[a:b], sources) for a, b in pairwise(edges) if b > a]


def _describe(dataset: Dataset, names: Sequence[str], structures: Array, total: Tally) -> DatasetStatistics:
    from ase.data import chemical_symbols

    per_element = total.elements.sum(axis=0)
    share = per_element[per_element > 0] / max(1, per_element.sum())
    ids = Counter(dataset.ids.tolist())
    copies = [name for name, count in ids.items() if count > 1]
    refused: dict[str, Counter[str]] = {}
    for r in dataset.refused:
        refused.setdefault(r.stage, Counter())[r.reason] += 1
    sizes, neighbors = _counted(total.sizes, "atoms"), _counted(total.neighbors, "atoms")
    references, residual = _references(total.energy_rows)
    return DatasetStatistics(
        structures=len(dataset),
        atoms=int(dataset.ptr[-1]),
        labelled=len(dataset) if dataset.labelled else 0,
        splits={part: len(dataset.split(part)) for part in PARTS} if dataset.splits is not None else {},
        refused={stage: dict(reasons.most_common()) for stage, reasons in sorted(refused.items())},
        duplicate_ids=len(dataset) - len(ids),
        duplicate_id_examples=tuple(copies[:EXAMPLES]),
        not_finite=total.not_finite,
        sources={name: int(count) for name, count in zip(names, structures, strict=True)},
        elements={
            name: {chemical_symbols[z]: int(row[z]) for z in np.flatnonzero(row)}
            for name, row in zip(names, total.elements, strict=True)
        },
        element_entropy_bits=float(-(share * np.log2(share)).sum()) + 0.0,  # no negative zero for a single element
        sizes=sizes,
        size_cv=sizes.std / sizes.mean if sizes else 0.0,
        energy_per_atom=_distribution(total.energy, "eV/atom"),
        reference_energies={chemical_symbols[z]: energy for z, energy in references.items()},
        energy_residual_rms=residual / float(np.sqrt(total.energy.count)) if total.energy.count else None,
        force_component=_distribution(total.force_component, "eV/Å"),
        force_norm=_distribution(total.force_norm, "eV/Å", FORCE_EDGES.tolist(), total.force_bars.tolist()),
        stress_component=_distribution(total.stress_component, "eV/Å^3"),
        pressure=_distribution(total.pressure, "eV/Å^3"),
        shortest_distances={
            f"{chemical_symbols[a]}-{chemical_symbols[b]}": Shortest(
                float(total.shortest[a, b]), str(dataset.ids[total.shortest_in[a, b]])
            )
            for a, b in np.argwhere(np.isfinite(total.shortest))
        },
        neighbors=neighbors,
    )


def _references(rows: Array) -> tuple[dict[int, float], float]:
    """Return reference energies in eV by atomic number, and the norm of the residual."""
    present = np.flatnonzero(rows[:, :-1].any(axis=0))
    if not len(present):
        return {}, 0.0
    energies, *_ = np.linalg.lstsq(rows[:, present], rows[:, -1], rcond=RELATIVE_CUTOFF)
    left = float(np.linalg.norm(rows[:, present] @ energies - rows[:, -1]))
    return {int(z): float(e) for z, e in zip(present, energies, strict=True)}, left


def _distribution(moments: Moments, unit: str, edges: Sequence[float] = (), bars: Sequence[int] = ()) -> Distribution | None:
    if moments.count == 0:
        return None
    std = float(np.sqrt(moments.squares / moments.count))
    return Distribution(unit, moments.count, moments.mean, std, moments.smallest, moments.largest, tuple(edges), tuple(bars))


def _counted(bars: Array, unit: str) -> Distribution | None:
    """Return the distribution of whole numbers from the count of each number."""
    found = np.flatnonzero(bars)
    if not len(found):
        return None
    count = int(bars.sum())
    mean = float((found * bars[found]).sum() / count)
    std = float(np.sqrt(((found - mean) ** 2 * bars[found]).sum() / count))
    low, high = int(found[0]), int(found[-1])
    edges = tuple(float(k) for k in range(low, high + 2))
    return Distribution(unit, count, mean, std, low, high, edges, tuple(bars[low : high + 1].tolist()))
