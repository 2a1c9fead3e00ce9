"""MD by the student: starting structures in, frames for the teacher out.

A frame at each interval is a candidate. Some are taken at regular times, so that they judge the student on its own dynamics.
The others are those with the largest expected errors, and those where atoms came too close, which end a trajectory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np

from potstill.active_learning.options import SOURCE, ActiveLearningConfig
from potstill.core.dynamics import EXPLODED, draw_velocities, repeat_crystal
from potstill.core.geometry import smallest_scaled_distance
from potstill.core.types import Array, Structure
from potstill.deploy.langevin import Langevin, Walker
from potstill.deploy.student import DeployedStudent

ATOMS_TOGETHER = 4000  # of the trajectories that run at the same time
TOLD_EVERY_PS = 1.0
MOST_EXPANDED = 1.6  # times the volume at the start, or its inverse: a liquid that boils, a crystal that collapses
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
class Candidate:
    """A frame, with the largest expected error of any of its atoms."""

    frame: Structure
    trajectory: int
    time_fs: float
    temperature_kelvin: float
    expected: float
    strange: bool = False


@dataclass(slots=True, eq=False)
class Trip:
    """One trajectory on its way: its number, where it started, and what it found.

    Parameters
    ----------
    number
        Number of the trajectory in its round.
    start
        Name of the structure that it started from.
    parent
        That structure, repeated where it is a small crystal.
    walker
        Where its atoms are now.
    """

    number: int
    start: str
    parent: Structure
    walker: Walker
    elapsed_fs: float = 0.0
    ended: str = ""
    found: list[Candidate] = field(default_factory=list)

    @classmethod
    def begin(
        cls, number: int, start: Structure, kelvin: float, options: ActiveLearningConfig, rng: np.random.Generator
    ) -> Trip:
        """Return a trajectory with velocities drawn at a temperature in K."""
        large = repeat_crystal(start, options.min_crystal_atoms, options.max_atoms, options.min_image_angstrom)
        parent = large.with_(labels=None)
        atoms: Any = parent.to_ase()
        draw_velocities(atoms, kelvin, rng)
        return cls(number, start.id, parent, Walker(parent, atoms.get_velocities(), kelvin, rng))

    def look(self, options: ActiveLearningConfig, max_force: float) -> str:
        """Keep the frame if a teacher may be asked about it; return why the trajectory ends, empty if it does not."""
        walker, labels = self.walker, self.walker.labels
        where = walker.structure
        frame = self.parent.with_(positions=_centred(where.positions, self.parent.positions), cell=where.cell)
        closest, _ = smallest_scaled_distance(frame)
        strange = closest < options.min_scaled_distance
        violent = labels is None or not np.linalg.norm(labels.forces, axis=1).max() <= max_force
        if labels is not None and closest > CLOSEST and not violent:
            expected = float(labels.extra["uncertainty"].max())
            self.found.append(Candidate(frame, self.number, self.elapsed_fs, walker.kelvin, expected, strange))
        if strange or violent or walker.temperature_kelvin > EXPLODED * walker.kelvin or self._lost_its_volume():
            return "too_close" if strange else "exploded"
        return ""

    def _lost_its_volume(self) -> bool:
        """Return whether a barostat has changed the volume of a periodic structure too much."""
        whole = bool(self.parent.pbc.all())
        return whole and abs(np.log(self.walker.structure.volume / self.parent.volume)) > np.log(MOST_EXPANDED)

    def journey(self) -> Journey:
        """Return what is reported of it."""
        return Journey(self.start, len(self.parent), self.walker.kelvin, self.elapsed_fs / 1000, self.ended)


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
    on_time: Callable[[float], None] = lambda elapsed_ps: None,
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
    on_time
        Function called after each picosecond of trajectories that run together, with the time in ps.
    """
    order = np.random.default_rng([seed, number]).permutation(len(starts))
    trips = []
    for k in range(options.trajectories):
        kelvin = options.temperatures_kelvin[(k + number) % len(options.temperatures_kelvin)]
        rng = np.random.default_rng([seed, number, k])
        trips.append(Trip.begin(k, starts[int(order[k % len(order)])], kelvin, options, rng))
    for together in _together(trips):
        travel(student, together, options, max_force, on_journey, on_time)
    candidates = [candidate for trip in trips for candidate in trip.found]
    journeys = [asdict(trip.journey()) for trip in trips]
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
    student: DeployedStudent,
    trips: Sequence[Trip],
    options: ActiveLearningConfig,
    max_force: float,
    on_journey: Callable[[Journey], None],
    on_time: Callable[[float], None],
) -> None:
    """Run some trajectories together to their ends; their candidates and how they ended go into them."""
    dynamics = Langevin(
        student,
        [trip.walker for trip in trips],
        timestep_fs=options.timestep_fs,
        friction_per_ps=options.friction_per_ps,
        pressure_gpa=options.pressure_gpa,
    )
    every = max(1, round(options.interval_fs / dynamics.timestep_fs))
    elapsed, told, length = 0.0, 0.0, 1000 * options.length_ps
    going = list(trips)
    while going:
        failed = {id(walker) for walker in dynamics.run(every)}
        elapsed += every * dynamics.timestep_fs
        for trip in going:
            trip.elapsed_fs = elapsed
            trip.ended = "failed" if id(trip.walker) in failed else trip.look(options, max_force)
            if not trip.ended and elapsed >= length:
                trip.ended = "finished"
            if trip.ended:
                on_journey(trip.journey())
        dynamics.drop([trip.walker for trip in going if trip.ended])
        going = [trip for trip in going if not trip.ended]
        if going and elapsed - told >= 1000 * TOLD_EVERY_PS:
            told = elapsed
            on_time(elapsed / 1000)


def _together(trips: Sequence[Trip]) -> list[list[Trip]]:
    """Return trajectories in groups that are not too large to run at the same time."""
    groups: list[list[Trip]] = [[]]
    for trip in trips:
        atoms = sum(len(other.parent) for other in groups[-1])
        if groups[-1] and atoms + len(trip.parent) > ATOMS_TOGETHER:
            groups.append([])
        groups[-1].append(trip)
    return groups


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
    reasons = dict.fromkeys(_regular(calm, [c.trajectory for c in candidates], regular), "regular")

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


def _regular(calm: Sequence[int], trajectories: Sequence[int], count: int) -> list[int]:
    """Return calm candidates in the middle of equal intervals of each trajectory, shared out by the lengths of these."""
    of = [[k for k in calm if trajectories[k] == number] for number in dict.fromkeys(trajectories)]
    exact = [count * len(places) / max(1, len(calm)) for places in of]
    shares = [int(x) for x in exact]
    for k in sorted(range(len(of)), key=lambda k: shares[k] - exact[k])[: count - sum(shares)]:
        shares[k] += 1  # the largest remainders
    return [places[int((k + 0.5) * len(places) / n)] for places, n in zip(of, shares, strict=True) for k in range(n)]


def _centred(positions: Array, before: Array) -> Array:
    """Return positions without the drift of the center."""
    return np.asarray(positions - (positions - before).mean(axis=0))
