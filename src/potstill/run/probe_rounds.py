"""The time of active learning, estimated from what a probe measured.

The input is the section ``active_learning`` and rates of the probe, the output seconds of MD, labels and training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from potstill.active_learning.options import ActiveLearningConfig
from potstill.core.dynamics import repeat_crystal
from potstill.core.elements import symbols_of
from potstill.core.types import Structure

if TYPE_CHECKING:
    from potstill.student.model import Student

STARTS, STEPS = 3, 5


@dataclass(frozen=True, slots=True, eq=False)
class Rates:
    """Rates that a probe measured.

    Parameters
    ----------
    labelling, learning
        Seconds for one atom: of a label by all workers, and of training in one epoch.
    student
        The student that the probe trained.
    starts
        Structures such as those that trajectories start from.
    loading
        Seconds in which a process starts and loads the teacher, anew in each round.
    """

    labelling: float
    learning: float
    student: Student | None = None
    starts: Sequence[Structure] = ()
    loading: float = 0.0


class Seconds(NamedTuple):
    """Seconds of all rounds: MD by the student, labels by the teacher, training."""

    moving: float
    labelling: float
    training: float


def seconds_of_rounds(options: ActiveLearningConfig, rates: Rates, training: float, atoms: float) -> Seconds:
    """Return the seconds of all rounds, at most.

    Parameters
    ----------
    options
        Section ``active_learning``.
    rates
        Measured by a probe.
    training
        Structures that are trained on before the first round.
    atoms
        Mean number of atoms in a structure.
    """
    rounds, labels = options.max_rounds, options.frames
    grown = sum(training + k * labels for k in range(1, rounds + 1))
    sizes = [float(len(start)) for start in _starts(options, rates)]  # small crystals are repeated
    larger = max(atoms, float(np.mean(sizes)) if sizes else 0.0)
    return Seconds(
        rounds * options.trajectories * 1e3 * options.length_ps * _seconds_per_fs(options, rates),
        rounds * (rates.loading + larger * rates.labelling * labels),
        atoms * rates.learning * grown * options.epochs,
    )


def _starts(options: ActiveLearningConfig, rates: Rates) -> list[Structure]:
    few = rates.starts[:: max(1, len(rates.starts) // STARTS)][:STARTS]
    return [repeat_crystal(s, options.min_crystal_atoms, options.max_atoms, options.min_image_angstrom) for s in few]


def _seconds_per_fs(options: ActiveLearningConfig, rates: Rates) -> float:
    """Return the seconds of one femtosecond of a trajectory by the student, of some that run together."""
    if rates.student is None:
        return 0.0
    from potstill.deploy.langevin import Langevin, Walker
    from potstill.deploy.student import DeployedStudent

    elements = symbols_of(rates.student.architecture.atomic_numbers)
    student = DeployedStudent(rates.student.eval(), {"elements": elements})
    walkers = [
        Walker(start, np.zeros(start.positions.shape), options.temperatures_kelvin[0], np.random.default_rng(0))
        for start in _starts(options, rates)
    ]
    if not walkers:
        return 0.0
    dynamics = Langevin(
        student,
        walkers,
        timestep_fs=options.timestep_fs,
        friction_per_ps=options.friction_per_ps,
        pressure_gpa=options.pressure_gpa,
    )
    dynamics.run(1)
    started = perf_counter()
    dynamics.run(STEPS)
    return (perf_counter() - started) / (STEPS * dynamics.timestep_fs * len(walkers))
