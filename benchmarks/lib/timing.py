"""How the speed benchmarks take times: turns, calls that no cache can answer, MD that no model can break."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from time import perf_counter
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from benchmarks.lib.peers import Answer, Model
from benchmarks.lib.systems import rattled

SPRING = 4.0  # eV/Å^2: at 300 K an atom is 0.08 Å from its site in each direction
START_KELVIN = 600.0  # half of it goes into the springs
FAST_STEP_SECONDS, STEPS_PER_TIMING = 0.02, 20  # fast MD steps are timed in groups, without the start of a run
ENOUGH_TIMINGS = 3  # a model that used up its budget stops here
KEEP_FREED_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 32),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 33),
    "MALLOC_TOP_PAD_": str(1 << 28),
}


class Springs(Calculator):
    """Asks a model as MD does, and answers with springs between the atoms and their sites.

    Parameters
    ----------
    asked
        Calculator of the model.
    sites
        (n, 3) Å.
    """

    implemented_properties = ["energy", "forces"]  # noqa: RUF012 - ASE's own interface

    def __init__(self, asked: Any, sites: np.ndarray) -> None:
        super().__init__()
        self.asked, self.sites = asked, sites.copy()

    def calculate(self, atoms: Any = None, properties: Any = ("forces",), system_changes: Any = tuple(all_changes)) -> None:
        super().calculate(atoms, properties, system_changes)
        self.asked.calculate(atoms, ["energy", "forces"], system_changes)
        away = atoms.positions - self.sites
        self.results = {"energy": 0.5 * SPRING * float((away**2).sum()), "forces": -SPRING * away}


@dataclass(slots=True)
class Runner:
    """One model on one system in one mode; ``call`` gives the seconds of its next call or MD step."""

    call: Callable[[], float]
    times: list[float] = field(default_factory=list)
    spent: float = 0.0

    def wants_a_turn(self, budget_seconds: float) -> bool:
        """Whether it has time left, or too few timings."""
        return self.spent < budget_seconds or len(self.times) < ENOUGH_TIMINGS

    def turn(self, seconds: float) -> None:
        """One turn of the protocol."""
        started = perf_counter()
        first = self.call()
        if first >= seconds:
            self.times.append(first)
        else:
            self.times.append(self.call())
            while perf_counter() - started < seconds:
                self.times.append(self.call())
        self.spent += perf_counter() - started


def evaluations(model: Model, structures: Sequence[Atoms]) -> Callable[[], float]:
    """Timer of energy, forces and stress, in one call for all structures."""
    seeds = count()

    def call() -> float:
        given = rattled(structures, next(seeds))
        started = perf_counter()
        answers = model.evaluate(given)
        seconds = perf_counter() - started
        check(given, answers)
        return seconds

    return call


def md_steps(model: Model, structure: Atoms) -> Callable[[], float]:
    """Timer of one step of MD."""
    atoms = model.prepare(structure)
    atoms.calc = Springs(model.calculator(), atoms.positions)
    MaxwellBoltzmannDistribution(atoms, temperature_K=START_KELVIN, rng=np.random.default_rng(0))
    dynamics = VelocityVerlet(atoms, timestep=units.fs)
    steps = 1

    def call() -> float:
        nonlocal steps
        started = perf_counter()
        dynamics.run(steps)
        seconds = (perf_counter() - started) / steps
        steps = STEPS_PER_TIMING if seconds < FAST_STEP_SECONDS else 1
        return seconds

    return call


def check(structures: Sequence[Atoms], answers: Sequence[Answer]) -> None:
    """Raise ValueError unless every structure got a finite energy, forces, and a stress where it is periodic."""
    for atoms, (energy, forces, stress) in zip(structures, answers, strict=True):
        numbers = np.concatenate([[energy], np.ravel(forces), np.ravel(stress) if atoms.pbc.all() else []])
        if forces.shape != (len(atoms), 3) or not np.isfinite(numbers.astype(float)).all():
            raise ValueError(f"{atoms.symbols}: forces of shape {forces.shape}, or a number that is not finite")


def figures(times: Sequence[float]) -> dict[str, Any]:
    """Median, least and quartiles of seconds."""
    low, median, high = (float(q) for q in np.quantile(times, (0.25, 0.5, 0.75)))
    return {"seconds": median, "min": min(times), "p25": low, "p75": high, "repeats": len(times)}


def one_thread_count(threads: int) -> dict[str, str]:
    """Environment that gives every library the same number of threads."""
    return dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))


def restart_with(environment: dict[str, str]) -> None:
    """Start this script again with environment variables that must stand before the first import, unless they do."""
    if any(os.environ.get(name) != value for name, value in environment.items()):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **environment})  # noqa: S606 - no shell needed
