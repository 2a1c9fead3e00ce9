"""Structures that each teacher labels in a second: here, in its own package batched by hand, by its calculator one by one.

    python -m benchmarks.teachers.label [--teachers sevennet chgnet orb-v2 ...] [--pairs 6] [--weights NAME=PATH ...]

The structures are rattled copies of crystals of about 20 atoms (molecules for xtb), another geometry for every pair. Both
ways run in turn in one process with one thread, graphs and neighbour lists inside the timer, and their energies are
compared first. The package has its best of several batch sizes, with its structures sorted by size as here; both use the
same model and keep freed memory. The ratio is the median of those of the pairs, by the clock and by processor time, which
other programs on the machine disturb less. Rows ``workers`` are the whole stage ``label`` with one and with two worker
processes of one thread: what each labels in a second after its first task, so that loading the model is left out, in sum.
Orb and MACE without ``--weights`` have random ones, which are as fast.

Rows of teachers that are not measured stay in the result file: mace and xtb may be measured in environments of their own.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from ase import Atoms
from ase.build import molecule
from benchmarks.lib.common import write_results
from benchmarks.lib.systems import aspirin, crystals, rattled
from benchmarks.lib.teachers_by_hand import PACKAGES, random_weights
from rich.console import Console
from rich.table import Table

from potstill.core.errors import PotstillError
from potstill.core.registry import borrow
from potstill.core.types import Labels, Structure, Teacher
from potstill.dataset import merge, write_part
from potstill.execute.memory import keep_freed_memory
from potstill.label.options import LabelConfig
from potstill.label.stage import LabelCount, label
from potstill.teacher.choices import parse_teacher
from potstill.teacher.options import TeacherOptions

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
BATCH_SIZES = (1, 4, 8, 16)
STRUCTURES = 16  # in one reading, and in one task of a worker
CALCULATOR_READINGS = 2
ENERGY_AGREES = 2e-4  # eV per atom: float32, other order of sums
TASKS_OF_WORKER = 5
MOLECULES_PER_CRYSTAL = 40  # in the tasks of workers, where xtb would be done before its workers have started


def systems(name: str, count: int, seed: int) -> list[Atoms]:
    """Rattled structures that a teacher knows, by size."""
    parents = [molecule(m) for m in MOLECULES] + [aspirin()] if name == "xtb" else crystals()[::2] + crystals()[1::2]
    many = parents * -(-count // len(parents))
    return sorted(rattled(many[:count], seed), key=len)


def measure(name: str, options: TeacherOptions, pairs: int) -> dict[str, Any]:
    """One row: the ways in turn, after they have agreed."""
    teacher = options.load()
    by_hand, calculator = PACKAGES[str(options.name)](teacher)  # type: ignore[attr-defined]

    def here(batch: Sequence[Atoms]) -> list[float]:
        return _energies(teacher, batch)

    def one_by_one(batch: Sequence[Atoms]) -> list[float]:
        return [_ask(calculator, atoms) for atoms in batch]

    def package(batch: Sequence[Atoms], size: int) -> list[float]:
        return [energy for k in range(0, len(batch), size) for energy in by_hand(batch[k : k + size])]

    _agree(name, systems(name, 4, 0), here, by_hand, one_by_one)
    probe = systems(name, STRUCTURES, 0)
    best = min(BATCH_SIZES, key=lambda size: _timed(partial(package, size=size), probe)[1])
    times: dict[str, list[tuple[float, float]]] = {"here": [], "package": [], "calculator": []}
    for pair in range(pairs):
        batch = systems(name, STRUCTURES, 1 + pair)
        ways = [("here", here), ("package", partial(package, size=best)), ("calculator", one_by_one)]
        for way, run in (ways if pair < CALCULATOR_READINGS else ways[:2])[:: 1 if pair % 2 else -1]:
            times[way].append(_timed(run, batch))
    by_clock, by_processor = (
        [there[k] / ours[k] for ours, there in zip(times["here"], times["package"], strict=True)] for k in (0, 1)
    )
    rates = {way: STRUCTURES / statistics.median(clock for clock, _ in found) for way, found in times.items()}
    return {
        "what": "throughput",
        "teacher": name,
        "fingerprint": dict(teacher.fingerprint),
        "structures": STRUCTURES,
        "atoms": sum(map(len, probe)),
        "pairs": pairs,
        "structures_per_s": rates["here"],
        "package_structures_per_s": rates["package"],
        "package_batch": best,
        "calculator_structures_per_s": rates["calculator"],
        "over_package": statistics.median(by_clock),
        "over_package_processor_time": statistics.median(by_processor),
        "over_calculator": rates["here"] / rates["calculator"],
    }


def measure_workers(name: str, options: TeacherOptions) -> dict[str, Any]:
    """One row: the stage with one worker and with two, each after its first task."""
    size = STRUCTURES * (MOLECULES_PER_CRYSTAL if name == "xtb" else 1)
    rates = {
        workers: _stage_rate(systems(name, size * TASKS_OF_WORKER * workers, 0), options, workers) for workers in (1, 2)
    }
    return {
        "what": "workers",
        "teacher": name,
        "structures_per_task": size,
        "one_worker_structures_per_s": rates[1],
        "two_workers_structures_per_s": rates[2],
        "two_over_one": rates[2] / rates[1],
    }


def _stage_rate(atoms: Sequence[Atoms], options: TeacherOptions, workers: int) -> float:
    tasks = TASKS_OF_WORKER * workers
    alike = [a for k in range(tasks) for a in atoms[k::tasks]]  # each task has small and large ones
    done: dict[str, list[tuple[float, int]]] = {}

    def note(count: LabelCount) -> None:
        done.setdefault(count.worker, []).append((time.perf_counter(), count.labelled + count.refused))

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        write_part(path / "part.h5", [Structure.from_ase(a, id=f"{k}", source="benchmark") for k, a in enumerate(alike)])
        merge([path / "part.h5"], path / "structures.h5", attributes={})
        config = LabelConfig(teacher=options, structures_per_task=len(alike) // tasks)
        label(config, path / "structures.h5", path / "parts", workers=workers, on_progress=note)
    if len(done) < workers or min(map(len, done.values())) < TASKS_OF_WORKER // 2:
        raise PotstillError(f"{workers} workers took {[len(found) for found in done.values()]} tasks: too uneven to compare")
    return sum(sum(n for _, n in found[1:]) / (found[-1][0] - found[0][0]) for found in done.values())


def main(arguments: Sequence[str]) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teachers", nargs="+", default=list(TEACHERS), choices=list(TEACHERS))
    parser.add_argument("--pairs", type=int, default=6, help="readings of each way")
    parser.add_argument("--no-workers", action="store_true", help="leave out the rows of workers")
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
                found = [measure(name, teacher, options.pairs)]
                if not options.no_workers:
                    found.append(measure_workers(name, teacher))
            except PotstillError as error:
                print(f"{name} is left out: {error}")
                continue
            rows += [{**row, "random_weights": random} for row in found]
    _print(rows)
    if not options.no_results:
        print(write_results("label", rows, keep=("what", "teacher")))


def _options(name: str, weights: str | None, folder: Path) -> tuple[TeacherOptions, bool]:
    options = dict(TEACHERS[name])
    random = options["name"] in ("orb-v2", "orb-v3", "mace") and weights is None
    if random:
        package, extra = ("mace", "mace") if name == "mace" else ("orb_models", "orb")
        borrow(package, extra, f"the teacher '{name}'")
        weights = str(folder / f"{name}.ckpt")
        random_weights(options["name"], options, weights)
    return parse_teacher({**options, **({"weights": weights} if weights else {})}), random


def _timed(run: Callable[[Sequence[Atoms]], Any], batch: Sequence[Atoms]) -> tuple[float, float]:
    """Seconds by the clock, and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    run(batch)
    return time.perf_counter() - clock, time.process_time() - processor


def _energies(teacher: Teacher, batch: Sequence[Atoms]) -> list[float]:
    answers = teacher.label([Structure.from_ase(atoms) for atoms in batch])
    refused = [a for a in answers if not isinstance(a, Labels)]
    if refused:
        raise PotstillError(f"refused: {refused[0].reason} {refused[0].detail}")
    return [answer.energy for answer in answers if isinstance(answer, Labels)]


def _ask(calculator: Any, atoms: Atoms) -> float:
    atoms = atoms.copy()
    atoms.calc = calculator
    atoms.get_forces()
    return float(atoms.get_potential_energy())


def _agree(name: str, batch: Sequence[Atoms], *ways: Callable[[Sequence[Atoms]], list[float]]) -> None:
    first, *others = [way(batch) for way in ways]
    for other in others:
        gap = max(abs(a - b) / len(atoms) for a, b, atoms in zip(first, other, batch, strict=True))
        if gap > ENERGY_AGREES:
            raise PotstillError(f"{name}: two ways differ by {gap:.2g} eV per atom")


def _print(rows: Sequence[dict[str, Any]]) -> None:
    table = Table(title="structures a second, one thread")
    for heading in (
        "teacher",
        "here",
        "package",
        "batch",
        "calculator",
        "/package",
        "by CPU time",
        "/calculator",
        "2 workers / 1",
    ):
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
                f"{row['over_package_processor_time']:.2f}",
                f"{row['over_calculator']:.2f}",
                "" if ratio is None else f"{ratio:.2f}",
            )
    Console(width=120).print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
