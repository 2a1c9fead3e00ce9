"""Structures that each teacher labels in a second: here, in its own package batched by hand, by its calculator one by one.

    python benchmarks/label.py [--teachers sevennet chgnet orb-v2 ...] [--copies 2] [--repeats 3] [--weights NAME=PATH ...]

The structures are rattled copies of 32 crystals of about 20 atoms (molecules for xtb), another geometry for every call. All
three ways run in turn in one process with one thread, graphs and neighbour lists inside the timer, and their energies are
compared first. The package has its best of several batch sizes, with its structures sorted by size as here, and both keep
freed memory. Rows ``workers`` are the whole stage ``label`` with one and with two worker processes of one thread: the rate
after each has finished its first task, so that loading the model is left out. Orb without ``--weights`` has random ones,
which are as fast.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from ase import Atoms
from ase.build import molecule
from common import write_results
from rich.console import Console
from rich.table import Table
from systems import aspirin, crystals, rattled
from teachers_by_hand import PACKAGES, random_weights

from potstill.config import LabelConfig, parse_teacher
from potstill.dataset import merge, write_part
from potstill.errors import PotstillError
from potstill.execute.memory import keep_freed_memory
from potstill.label.stage import LabelCount, label
from potstill.label.teacher import TeacherOptions
from potstill.types import Labels, Structure, Teacher

TEACHERS: dict[str, dict[str, Any]] = {
    "sevennet": {"name": "sevennet"},
    "chgnet": {"name": "chgnet"},
    "orb-v2": {"name": "orb-v2"},
    "orb-v3-direct-20-omat": {"name": "orb-v3", "model": "orb-v3-direct-20-omat"},
    "orb-v3-conservative-20-omat": {"name": "orb-v3", "model": "orb-v3-conservative-20-omat"},
    "mace": {"name": "mace", "allow_pickle": True},
    "xtb": {"name": "xtb"},
}
MOLECULES = ("CH3CH2OH", "C6H6", "CH3COOH", "C5H5N", "C4H4NH", "CH3SCH3", "C3H9N", "C2H6CHOH")
BATCH_SIZES = (1, 4, 8, 16, 32)
ENERGY_AGREES = 2e-4  # eV per atom: float32, other order of sums
STRUCTURES_PER_TASK = 16
MOLECULES_PER_CRYSTAL = 40  # in the rows of workers, where xtb would be done before its workers have started


def systems(name: str, copies: int, seed: int) -> list[Atoms]:
    """Rattled structures that a teacher knows, by size."""
    parents = [molecule(m) for m in MOLECULES] + [aspirin()] if name == "xtb" else crystals()
    return sorted(rattled(parents * copies, seed), key=len)


def measure(name: str, options: TeacherOptions, copies: int, repeats: int) -> dict[str, Any]:
    """One row: the three ways in turn, after they have agreed."""
    teacher = options.load()
    by_hand, calculator = PACKAGES[str(options.name)](teacher)  # type: ignore[attr-defined]

    def here(batch: Sequence[Atoms]) -> list[float]:
        return _energies(teacher, batch)

    def one_by_one(batch: Sequence[Atoms]) -> list[float]:
        return [_ask(calculator, atoms) for atoms in batch]

    _agree(name, systems(name, 1, 0), here, by_hand, one_by_one)
    ways: dict[str, Callable[[Sequence[Atoms]], Any]] = {"here": here, "calculator": one_by_one}
    for size in BATCH_SIZES:
        ways[f"package {size}"] = lambda batch, size=size: [by_hand(batch[k : k + size]) for k in range(0, len(batch), size)]
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    seed = 1
    for _ in range(repeats):
        for way, run in ways.items():
            batch = systems(name, copies, seed)
            seed += 1
            started = time.perf_counter()
            run(batch)
            seconds[way].append(time.perf_counter() - started)
    rates = {way: len(batch) / statistics.median(found) for way, found in seconds.items()}
    best = max((way for way in ways if way.startswith("package")), key=rates.__getitem__)
    return {
        "what": "throughput",
        "teacher": name,
        "fingerprint": dict(teacher.fingerprint),
        "structures": len(batch),
        "atoms": sum(map(len, batch)),
        "structures_per_s": rates["here"],
        "package_structures_per_s": rates[best],
        "package_batch": int(best.split()[1]),
        "calculator_structures_per_s": rates["calculator"],
        "over_package": rates["here"] / rates[best],
        "over_calculator": rates["here"] / rates["calculator"],
    }


def measure_workers(name: str, options: TeacherOptions, copies: int) -> dict[str, Any]:
    """One row: the stage with one worker and with two, each after its first tasks."""
    rates = {}
    with tempfile.TemporaryDirectory() as folder:
        parents = systems(name, copies * (MOLECULES_PER_CRYSTAL if name == "xtb" else 1), 0)
        structures = [
            Structure.from_ase(a, id=f"{k}", source="benchmark") for k, a in enumerate(parents[::2] + parents[1::2])
        ]
        write_part(Path(folder) / "part.h5", structures)
        merge([Path(folder) / "part.h5"], Path(folder) / "structures.h5", attributes={})
        config = LabelConfig(teacher=options, structures_per_task=STRUCTURES_PER_TASK)
        for workers in (1, 2):
            done: list[tuple[float, int]] = []

            def note(count: LabelCount, done: list[tuple[float, int]] = done) -> None:
                done.append((time.perf_counter(), count.labelled + count.refused))

            label(config, Path(folder) / "structures.h5", Path(folder) / str(workers), workers=workers, on_progress=note)
            warm = done[workers:]  # after every worker has loaded its model
            if not warm:
                raise PotstillError("too few structures for two workers; give more --copies")
            rates[workers] = sum(n for _, n in warm) / (warm[-1][0] - done[workers - 1][0])
    return {
        "what": "workers",
        "teacher": name,
        "one_worker_structures_per_s": rates[1],
        "two_workers_structures_per_s": rates[2],
        "two_over_one": rates[2] / rates[1],
    }


def main(arguments: Sequence[str]) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teachers", nargs="+", default=list(TEACHERS), choices=list(TEACHERS))
    parser.add_argument("--copies", type=int, default=2, help="of the 32 crystals in one reading")
    parser.add_argument("--worker-copies", type=int, default=6, help="of them for the rows of workers; 0: no such rows")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--weights", nargs="*", default=[], metavar="NAME=PATH")
    parser.add_argument("--no-results", action="store_true", help="print only")
    options = parser.parse_args(arguments)
    weights = dict(pair.split("=", 1) for pair in options.weights)
    torch.set_num_threads(1)
    keep_freed_memory()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.teachers:
            try:
                teacher, random = _options(name, weights.get(name), Path(folder))
                teacher.check_weights()
                found = [measure(name, teacher, options.copies, options.repeats)]
                if options.worker_copies:
                    found.append(measure_workers(name, teacher, options.worker_copies))
            except PotstillError as error:
                print(f"{name} is left out: {error}")
                continue
            rows += [{**row, "random_weights": random} for row in found]
    _print(rows)
    if not options.no_results:
        print(write_results("label", rows))


def _options(name: str, weights: str | None, folder: Path) -> tuple[TeacherOptions, bool]:
    options = dict(TEACHERS[name])
    random = options["name"] in ("orb-v2", "orb-v3") and weights is None
    if random:
        parse_teacher(options)
        from potstill.registry import borrow

        borrow("orb_models", "orb", f"the teacher '{name}'")
        weights = str(folder / f"{name}.ckpt")
        random_weights(options["name"], options, weights)
    return parse_teacher({**options, **({"weights": weights} if weights else {})}), random


def _energies(teacher: Teacher, batch: Sequence[Atoms]) -> list[float]:
    answers = teacher.label([Structure.from_ase(atoms) for atoms in batch])
    refused = [a for a in answers if not isinstance(a, Labels)]
    if refused:
        raise PotstillError(f"refused: {refused[0].reason} {refused[0].detail}")
    return [answer.energy for answer in answers if isinstance(answer, Labels)]


def _ask(calculator: Any, atoms: Atoms) -> float:
    atoms.calc = calculator
    atoms.get_forces()
    return float(atoms.get_potential_energy())


def _agree(name: str, batch: Sequence[Atoms], *ways: Callable[[Sequence[Atoms]], list[float]]) -> None:
    first, *others = [way(batch[:8]) for way in ways]
    for other in others:
        gap = max(abs(a - b) / len(atoms) for a, b, atoms in zip(first, other, batch, strict=False))
        if gap > ENERGY_AGREES:
            raise PotstillError(f"{name}: two ways differ by {gap:.2g} eV per atom")


def _print(rows: Sequence[dict[str, Any]]) -> None:
    table = Table(title="structures a second, one thread")
    for heading in ("teacher", "here", "package", "batch", "calculator", "/package", "/calculator", "2 workers / 1"):
        table.add_column(heading)
    ratios = {row["teacher"]: row["two_over_one"] for row in rows if row["what"] == "workers"}
    for row in rows:
        if row["what"] == "throughput":
            figures = ("structures_per_s", "package_structures_per_s", "package_batch", "calculator_structures_per_s")
            ratio = ratios.get(row["teacher"])
            table.add_row(
                row["teacher"],
                *(f"{row[key]:.3g}" for key in figures),
                f"{row['over_package']:.2f}",
                f"{row['over_calculator']:.2f}",
                "" if ratio is None else f"{ratio:.2f}",
            )
    Console(width=120).print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
