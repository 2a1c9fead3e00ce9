"""Section ``active_learning`` of the config."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from potstill.core.section import ImageDistance, Section

SOURCE = "active_learning"  # name of the source of its structures


class ActiveLearningConfig(Section):
    """Section ``active_learning``: the trained student runs MD, and the teacher labels frames of it."""

    max_rounds: Annotated[int, Field(gt=0, description="largest number of rounds")] = 4
    max_force_error_ev_per_angstrom: Annotated[
        float,
        Field(gt=0, description="force MAE in eV/Å on frames of the student's own MD below which active learning ends"),
    ] = 0.1
    frames: Annotated[
        int, Field(gt=0, le=100_000, description="largest number of frames that the teacher labels in a round")
    ] = 90
    regular_fraction: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="share of the frames at regular times, on which the student is judged; the others are those with "
            "large expected errors or short distances",
        ),
    ] = 1 / 3
    trajectories: Annotated[int, Field(gt=0, description="number of trajectories in each round")] = 6
    length_ps: Annotated[float, Field(gt=0, description="length of a trajectory in ps (Langevin dynamics)")] = 2.0
    temperatures_kelvin: Annotated[
        tuple[Annotated[float, Field(gt=0)], ...],
        Field(min_length=1, description="temperatures of the trajectories in K, used in turn"),
    ] = (300.0, 600.0, 1000.0)
    timestep_fs: Annotated[
        float, Field(gt=0, le=5, description="time step in fs; half of it for structures with hydrogen")
    ] = 1.0
    pressure_gpa: Annotated[
        float | None,
        Field(
            description="pressure in GPa of a barostat for crystals and liquids, which scales all axes alike; null: the "
            "volume is constant",
        ),
    ] = None
    friction_per_ps: Annotated[float, Field(gt=0, description="friction of the Langevin thermostat in 1/ps")] = 10.0
    interval_fs: Annotated[float, Field(gt=0, description="time in fs between two frames that may be chosen")] = 20.0
    min_scaled_distance: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="smallest distance over the sum of covalent radii; a frame below it is labelled and ends its "
            "trajectory",
        ),
    ] = 0.6
    start_from: Annotated[
        tuple[str, ...],
        Field(description="names of the sources whose structures the trajectories start from; empty: your own files"),
    ] = ()
    min_crystal_atoms: Annotated[
        int, Field(gt=0, description="smallest number of atoms of a crystal; smaller cells are repeated")
    ] = 16
    min_image_angstrom: ImageDistance = 0.0
    max_atoms: Annotated[
        int,
        Field(gt=0, description="largest number of atoms of a repeated crystal; your larger structures stay as they are"),
    ] = 200
    epochs: Annotated[
        int, Field(gt=0, description="passes over the grown dataset in a round, which start from the last weights")
    ] = 30
    learning_rate: Annotated[
        float | None, Field(gt=0, description="highest learning rate in a round; null: half of train.learning_rate")
    ] = None

    @model_validator(mode="after")
    def _refuse_a_long_interval(self) -> Self:
        if self.interval_fs > 1000 * self.length_ps:
            raise ValueError(f"interval_fs {self.interval_fs:g} is longer than a trajectory, length_ps {self.length_ps:g}")
        return self
