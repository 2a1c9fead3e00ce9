"""MD by the student: starting structures in, frames for the teacher out.

A frame at each interval is a candidate. Some are taken at regular times, so that they judge the student on its own dynamics.
The others are those with the largest expected errors, and those where atoms came too close, which end a trajectory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from potstill.active_learning.options import SOURCE, ActiveLearningConfig
from potstill.core.dynamics import EXPLODED, draw_velocities, repeat_crystal
from potstill.core.errors import StructureError
from potstill.core.geometry import smallest_scaled_distance
from potstill.core.types import Array, Structure
from potstill.deploy.langevin import langevin_by
from potstill.deploy.student import DeployedStudent

CLOSEST = 0.4  # scaled distance below which no teacher is called: 7net-0 and others have unphysical wells there


@dataclass(frozen=True, slots=True)
class Journey:
    """One trajectory: start, temperature, length and reason of its end."""

    start: str
    atoms: int
    temperature_kelvin: float
    length_ps: float
    ended: str  # "finished", "too_close", "exploded" or "failed"


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """One trajectory to run: number, start and temperature in K."""

    number: int
    start: Structure
    kelvin: float


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A frame, with the largest expected error of any of its atoms."""

    frame: Structure
    trajectory: int
    time_fs: float
    temperature_kelvin: float
    expected: float
    strange: bool = False


class Visited(NamedTuple):
    """Frames for the teacher.

    Parameters
    ----------
    frames
        Frames to label.
    spares
        Further frames, which replace those that are refused.
    journeys
        One row for each trajectory.
    """

    frames: list[Structure]
    spares: list[Structure]
    journeys: list[dict[str, Any]]


def visit(
    student: DeployedStudent,
    starts: Sequence[Structure],
    options: ActiveLearningConfig,
    *,
    max_force: float,
    number: int,
    seed: int,
    on_journey: Callable[[Journey], None] = lambda journey: None,
) -> Visited:
    """Run trajectories and return frames to label, each with its ``reason`` in its metadata.

    Parameters
    ----------
    student
        Student that runs the MD and predicts its own errors.
    starts
        Structures to start from, in an order that depends on the seed and the round.
    options
        Section ``active_learning``.
    max_force
        Force on an atom in eV/Å beyond which labels are refused. A trajectory ends where the student expects a larger one,
        and that frame is not labelled.
    number, seed
        The round, from 1, and the seed of the run.
    on_journey
        Function called after each trajectory.
    """
    order = np.random.default_rng([seed, number]).permutation(len(starts))
    candidates: list[Candidate] = []
    journeys: list[dict[str, Any]] = []
    for k in range(options.trajectories):
        kelvin = options.temperatures_kelvin[(k + number) % len(options.temperatures_kelvin)]
        task = Task(k, starts[int(order[k % len(order)])], kelvin)
        found, journey = travel(student, task, options, max_force, np.random.default_rng([seed, number, k]))
        candidates += found
        journeys.append(asdict(journey))
        on_journey(journey)
    reasons = choose(candidates, options)
    spares = dict.fromkeys(_spares(candidates, reasons, options.frames), "spare")
    frames, others = (
        [_named(candidates[k], k, reason, number) for k, reason in some.items()]
        for some in (dict(sorted(reasons.items())), spares)
    )
    return Visited(frames, others, journeys)


def _named(candidate: Candidate, place: int, reason: str, number: int) -> Structure:
    return candidate.frame.with_(
        id=f"{SOURCE}-{number:02d}-{place:05d}",
        source=SOURCE,
        positions=candidate.frame.positions.astype(np.float32),
        generator_metadata={
            "round": number,
            "reason": reason,
            "trajectory": candidate.trajectory,
            "time_fs": candidate.time_fs,
            "temperature_kelvin": candidate.temperature_kelvin,
            "expected_error": candidate.expected,
        },
    )


def _spares(candidates: Sequence[Candidate], chosen: Mapping[int, str], most: int) -> list[int]:
    """Return the indices of calm candidates that were not chosen, at most ``most``, at regular intervals."""
    left = [k for k, c in enumerate(candidates) if not c.strange and k not in chosen]
    places = np.unique(np.linspace(0, len(left) - 1, min(most, len(left))).astype(int))
    return [left[int(k)] for k in places]


def travel(
    student: DeployedStudent, task: Task, options: ActiveLearningConfig, max_force: float, rng: np.random.Generator
) -> tuple[list[Candidate], Journey]:
    """Run one trajectory; return its candidates and how it ended."""
    parent = repeat_crystal(task.start, options.min_crystal_atoms, options.max_atoms).with_(labels=None)
    atoms: Any = parent.to_ase()
    atoms.calc = student.calculator()
    draw_velocities(atoms, task.kelvin, rng)
    dynamics, timestep = langevin_by(
        student, atoms, task.kelvin, timestep_fs=options.timestep_fs, friction_per_ps=options.friction_per_ps, rng=rng
    )
    every = max(1, round(options.interval_fs / timestep))
    found: list[Candidate] = []
    elapsed, ended = 0.0, "finished"
    while elapsed < 1000 * options.length_ps:
        elapsed += every * timestep
        if not _moved(dynamics, atoms, every):
            ended = "failed"
            break
        frame = parent.with_(positions=_centred(atoms.positions, parent.positions))
        closest, _ = smallest_scaled_distance(frame)
        strange = closest < options.min_scaled_distance
        violent = np.linalg.norm(atoms.calc.results["forces"], axis=1).max() > max_force
        if closest > CLOSEST and not violent:
            expected = float(atoms.calc.results["uncertainty"].max())
            found.append(Candidate(frame, task.number, elapsed, task.kelvin, expected, strange))
        if strange or violent or atoms.get_temperature() > EXPLODED * task.kelvin:
            ended = "too_close" if strange else "exploded"
            break
    return found, Journey(task.start.id, len(parent), task.kelvin, elapsed / 1000, ended)


def _moved(dynamics: Any, atoms: Any, steps: int) -> bool:
    """Run some steps; return whether the student could, so that positions are numbers and near each other."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            dynamics.run(steps)
    except StructureError:
        return False
    return bool(np.isfinite(atoms.positions).all())


def choose(candidates: Sequence[Candidate], options: ActiveLearningConfig) -> dict[int, str]:
    """Return the indices of the chosen candidates, at most ``frames``, each with its reason.

    Frames at regular times come first, because they judge the student. The remaining places go to strange frames, those with
    the largest expected error first, and then to uncertain frames. Frames shortly after one another are alike, and those
    shortly after the start are like the start. Frames are therefore taken at least half as far apart as they would be at
    regular times, as long as there are such.
    """
    total = min(options.frames, len(candidates))
    calm = [k for k, c in enumerate(candidates) if not c.strange]
    regular = min(total, len(calm), max(1, round(options.regular_fraction * total)))
    reasons = {calm[int((k + 0.5) * len(calm) / regular)]: "regular" for k in range(regular)}

    def by_error(places: Sequence[int]) -> list[int]:
        return sorted(places, key=lambda k: -candidates[k].expected)

    strange = by_error([k for k, c in enumerate(candidates) if c.strange])
    reasons |= dict.fromkeys(strange[: total - len(reasons)], "strange")
    uncertain = by_error([k for k in calm if k not in reasons])
    ends = {c.trajectory: c.time_fs for c in candidates}
    spacing = 0.5 * sum(ends.values()) / max(1, total)
    taken = [(trajectory, 0.0) for trajectory in ends] + [(candidates[k].trajectory, candidates[k].time_fs) for k in reasons]
    for least in (spacing, 0.0):
        for k in uncertain:
            trajectory, time = candidates[k].trajectory, candidates[k].time_fs
            apart = all(abs(time - other) >= least for its, other in taken if its == trajectory)
            if k not in reasons and apart and len(reasons) < total:
                reasons[k] = "uncertain"
                taken.append((trajectory, time))
    return reasons


def _centred(positions: Array, before: Array) -> Array:
    """Return positions without the drift of the center."""
    return np.asarray(positions - (positions - before).mean(axis=0))
