"""Section ``active_learning`` of the config."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from potstill.core.section import Section


class ActiveLearningConfig(Section):
    """Section ``active_learning``: the trained student moves the atoms, and the teacher labels what it meets there."""

    max_rounds: Annotated[int, Field(gt=0, description="rounds at most")] = 4
    max_force_error_ev_per_angstrom: Annotated[
        float, Field(gt=0, description="the rounds end where the force MAE on frames of the student's own dynamics is below")
    ] = 0.1
    frames: Annotated[int, Field(gt=0, le=100_000, description="frames that the teacher labels in a round")] = 90
    regular_fraction: Annotated[
        float,
        Field(gt=0, le=1, description="share of them at regular times, which judge; the others are uncertain or strange"),
    ] = 1 / 3
    trajectories: Annotated[int, Field(gt=0, description="in each round")] = 6
    length_ps: Annotated[float, Field(gt=0, description="of a trajectory (Langevin, constant volume)")] = 2.0
    temperatures_kelvin: Annotated[
        tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1, description="of the trajectories, in turn")
    ] = (300.0, 600.0, 1000.0)
    timestep_fs: Annotated[float, Field(gt=0, le=5, description="half of it where there is hydrogen")] = 1.0
    friction_per_ps: Annotated[float, Field(gt=0, description="of the bath")] = 10.0
    interval_fs: Annotated[float, Field(gt=0, description="time between two frames that are looked at")] = 20.0
    min_scaled_distance: Annotated[
        float,
        Field(gt=0, description="a frame with a smaller distance over the sum of covalent radii is strange, and the last"),
    ] = 0.6
    start_from: Annotated[
        tuple[str, ...],
        Field(description="sources whose structures the trajectories start from; your own files where empty"),
    ] = ()
    min_crystal_atoms: Annotated[int, Field(gt=0, description="crystals are repeated up to this size")] = 16
    max_atoms: Annotated[int, Field(gt=0, description="largest structure that is moved")] = 200
    epochs: Annotated[int, Field(gt=0, description="passes over the grown dataset in a round, from the last weights")] = 30
    learning_rate: Annotated[
        float | None, Field(gt=0, description="highest one; half of train.learning_rate where null")
    ] = None
