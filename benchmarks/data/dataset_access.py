"""Writing and reading a dataset against other ways to keep structures, and what a training waits for its data.

    python -m benchmarks.data.dataset_access [--structures 120000] [--others 3000] [--steps 60]

Structures have 2 to 200 atoms, random positions, labels; rates are structures per second. ``few`` compares all ways on fewer
structures, since the others are slower: the same fields, each way in turn, the best of three turns. ``random`` draws batches
of 32 from anywhere, with every file in the page cache; ``loader`` takes such batches from the thread that feeds a training.
``training`` trains students of two tiers on batches of at most 1,000 atoms and tells the share of time in which they waited
for a batch, after the first ones. Needs ``pip install lmdb``.
"""

from __future__ import annotations

import argparse
import pickle
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ase.db
import h5py
import lmdb
import numpy as np
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from benchmarks.lib.common import write_results
from rich.console import Console
from rich.table import Table

from potstill.core.types import Labels, Structure
from potstill.dataset import Dataset, Records, merge, write_part
from potstill.dataset.schema import ARRAY_COLUMNS, TEXT_COLUMNS
from potstill.student.fused import FusedTraining
from potstill.student.model import Student
from potstill.student.options import StudentArchitecture
from potstill.train.data import LabelledStructures, Loader
from potstill.train.losses import mean_errors
from potstill.train.sampler import BatchSampler

ELEMENTS = (1, 6, 8, 14, 29)
PART = 1000
BATCH = 32
SECONDS = 1.0  # of each reading
TURNS = 3  # each way in turn; the best counts
WARM_STEPS = 8


def structures(start: int, stop: int) -> Iterator[Structure]:
    """Random structures with 2 to 200 atoms at about the density of a solid."""
    for k in range(start, stop):
        rng = np.random.default_rng(k)
        n = int(rng.integers(2, 201))
        length = (14.0 * n) ** (1 / 3)
        yield Structure(
            rng.choice(ELEMENTS, n),
            rng.uniform(0, length, (n, 3)),
            np.eye(3) * length,
            np.ones(3, dtype=bool),
            id=f"random-{k:06d}",
            source="random",
            family=f"family-{k % 1000}",
            generator_metadata={"number": k},
            labels=Labels(-4.0 * n, rng.normal(size=(n, 3)), np.zeros((3, 3))),
        )


def write_ours(folder: Path, count: int) -> tuple[Path, float]:
    """Parts, then one file; seconds without the making of structures."""
    seconds, parts = 0.0, []
    for start in range(0, count, PART):
        made = list(structures(start, min(start + PART, count)))
        parts.append(folder / f"part-{start:06d}.h5")
        started = time.perf_counter()
        write_part(parts[-1], made, labelled=True)
        seconds += time.perf_counter() - started
    started = time.perf_counter()
    merge(parts, folder / "dataset.h5", attributes={}, splits=np.zeros(count, np.uint8))
    return folder / "dataset.h5", seconds + time.perf_counter() - started


def write_parts(path: Path, made: list[Structure]) -> None:
    """Parts, then one file."""
    parts = []
    for start in range(0, len(made), PART):
        parts.append(path.with_name(f"{path.stem}-{start}.part"))
        write_part(parts[-1], made[start : start + PART], labelled=True)
    merge(parts, path, attributes={}, splits=np.zeros(len(made), np.uint8))


def write_groups(path: Path, made: list[Structure]) -> None:
    """A group for each structure, as MACE keeps them."""
    with h5py.File(path, "w") as file:
        for s in made:
            group = file.create_group(s.id)
            for name, value in _fields(s).items():
                group[name] = value


def write_ase(path: Path, made: list[Structure]) -> None:
    """ASE's SQLite database, in one transaction."""
    with ase.db.connect(path) as database:
        for s in made:
            atoms = Atoms(s.atomic_numbers, s.positions, cell=s.cell, pbc=s.pbc)
            atoms.calc = SinglePointCalculator(atoms, energy=s.labels.energy, forces=s.labels.forces, stress=np.zeros(6))
            database.write(atoms, structure=s.id, source=s.source, family=s.family)


def write_lmdb(path: Path, made: list[Structure]) -> None:
    """Pickled arrays in LMDB."""
    with lmdb.open(str(path), map_size=1 << 34, subdir=False) as environment, environment.begin(write=True) as transaction:
        for k, s in enumerate(made):
            transaction.put(str(k).encode(), pickle.dumps(_fields(s), protocol=5))


def _fields(s: Structure) -> dict[str, Any]:
    arrays = {name: getattr(s, name) for name in ("atomic_numbers", "cell", "pbc")}
    floats = {"positions": s.positions.astype(np.float32), "forces": s.labels.forces.astype(np.float32)}
    texts = {"id": s.id, "source": s.source, "family": s.family}
    return {**arrays, **floats, **texts, "energy": s.labels.energy, "stress": np.zeros((3, 3), np.float32)}


def read_groups(path: Path, count: int) -> Callable[[np.ndarray], Any]:
    """Reader of batches."""
    file = h5py.File(path, "r")
    names = ("atomic_numbers", "positions", "forces", "cell", "pbc", "energy", "stress")
    keys = [f"random-{k:06d}" for k in range(count)]
    return lambda batch: [{name: file[keys[k]][name][()] for name in names} for k in batch]


def read_ase(path: Path) -> Callable[[np.ndarray], Any]:
    """Reader of batches."""
    database = ase.db.connect(path)
    return lambda batch: [database.get(id=int(k) + 1).toatoms() for k in batch]


def read_lmdb(path: Path) -> Callable[[np.ndarray], Any]:
    """Reader of batches."""
    transaction = lmdb.open(str(path), readonly=True, subdir=False, lock=False).begin()
    return lambda batch: [pickle.loads(transaction.get(str(int(k)).encode())) for k in batch]  # noqa: S301 - written here


def random_rate(read: Callable[[np.ndarray], Any], count: int) -> float:
    """Structures per second in random batches, warm."""
    rng = np.random.default_rng(0)
    for turn in range(2):
        read_count, started = 0, time.perf_counter()
        while time.perf_counter() - started < SECONDS * (turn + 1) / 2:
            read(rng.integers(0, count, BATCH))
            read_count += BATCH
    return read_count / (time.perf_counter() - started)


def loader_rate(dataset: Dataset) -> float:
    """Structures per second through the thread that makes the batches of a training, without neighbour lists."""
    loader = Loader(_Gathered(dataset), BatchSampler(np.diff(dataset.ptr), BATCH))
    for epoch in range(2):
        loader.epoch = epoch
        started = time.perf_counter()
        count = sum(len(records) for records in loader)
    return count / (time.perf_counter() - started)


class _Gathered:
    """A dataset whose batches are records as they are."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def __getitem__(self, indices: np.ndarray) -> Records:
        return self._dataset.gather(indices)


def waiting(dataset: Dataset, tier: str, steps: int) -> dict[str, Any]:
    """Share of the time of a training in which it waits for a batch."""
    data = LabelledStructures(dataset.select("train"), 5.0)
    loader = Loader(data, BatchSampler(data.sizes, 64, batch_atoms=1000))
    student = Student(StudentArchitecture(tier=tier, atomic_numbers=ELEMENTS))
    kernel, optimizer = FusedTraining(student), torch.optim.AdamW(student.parameters(), fused=True)
    waited = worked = 0.0
    batches = iter(loader)
    for step in range(steps + WARM_STEPS):
        started = time.perf_counter()
        batch = next(batches)
        taken = time.perf_counter()
        errors = mean_errors(student.predict(batch.inputs, training=True, kernel=kernel), batch)
        sum(errors.values()).backward()
        optimizer.step()
        optimizer.zero_grad()
        if step >= WARM_STEPS:
            waited, worked = waited + taken - started, worked + time.perf_counter() - taken
    batches.close()
    share = waited / (waited + worked)
    return {
        "what": "training",
        "way": f"student {tier}",
        "share_waiting": share,
        "seconds_per_step": (waited + worked) / steps,
    }


def main() -> None:
    """Write, read, train, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--structures", type=int, default=120_000)
    parser.add_argument("--others", type=int, default=3_000, help="structures for the slower ways")
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        path, seconds = write_ours(folder, options.structures)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        dataset = Dataset(path)
        with h5py.File(path, "r") as file:
            raw = sum(file[c.path].nbytes for c in ARRAY_COLUMNS) + file["structures/ptr"].nbytes
            raw += sum(len(text) for c in TEXT_COLUMNS for text in file[c.path][:])
        rows.append(
            {"what": "file", "way": "potstill", "structures": len(dataset), "bytes": path.stat().st_size, "raw": raw}
        )
        rows[-1] |= {"ratio": path.stat().st_size / raw, "memory_megabytes": grown / 1e3}
        rows.append({"what": "write", "way": "potstill", "per_second": options.structures / seconds})
        rows.append({"what": "random", "way": "potstill", "per_second": random_rate(dataset.gather, len(dataset))})
        rows.append({"what": "loader", "way": "potstill", "per_second": loader_rate(dataset)})
        rows[-1]["share_of_random"] = rows[-1]["per_second"] / rows[-2]["per_second"]
        made = list(structures(0, options.others))
        ways: dict[str, tuple[Callable[[Path, list[Structure]], None], Callable[[Path], Any]]] = {
            "potstill": (write_parts, lambda p: Dataset(p).gather),
            "HDF5, a group per structure": (write_groups, lambda p: read_groups(p, options.others)),
            "ASE database": (write_ase, read_ase),
            "LMDB": (write_lmdb, read_lmdb),
        }
        rates: dict[tuple[str, str], float] = {}
        for turn in range(TURNS):
            for k, (way, (write, read)) in enumerate(ways.items()):
                target = folder / f"{k}-{turn}.db"
                started = time.perf_counter()
                write(target, made)
                wrote = options.others / (time.perf_counter() - started)
                rates["write", way] = max(rates.get(("write", way), 0.0), wrote)
                rates["random", way] = max(rates.get(("random", way), 0.0), random_rate(read(target), options.others))
        for (what, way), rate in rates.items():
            ratio = rates[what, "potstill"] / rate
            rows.append({"what": f"{what}, few", "way": way, "per_second": rate, "potstill_is_faster_by": ratio})
        rows += [waiting(dataset, tier, options.steps) for tier in ("nano", "base")]
    table = Table("what", "way", "figure")
    for row in rows:
        figures = {k: v for k, v in row.items() if k not in ("what", "way")}
        table.add_row(row["what"], row["way"], ", ".join(f"{k} {v:,.4g}" for k, v in figures.items()))
    Console(width=140, file=sys.stderr).print(table)
    print(write_results("dataset_access", rows))


if __name__ == "__main__":
    main()
