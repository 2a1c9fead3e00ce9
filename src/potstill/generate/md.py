"""MD: molecular dynamics with the teacher at several temperatures, thinned to frames that differ.

Takes parents and a teacher and makes frames of Langevin dynamics at constant volume. A frame is kept once some time has
passed and its forces are no longer correlated with those of the last frame kept. Correlated forces would give a redundant
label. The criterion ignores motion slower than the forces, such as the turning of a group of atoms.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from potstill.core.dynamics import EXPLODED, draw_velocities, langevin, repeat_crystal
from potstill.core.errors import StructureError
from potstill.core.section import ImageDistance
from potstill.core.types import Array, Refused, Structure, Teacher
from potstill.generate.parents import child_of
from potstill.generate.trajectories import TrajectoryError, TrajectoryOptions, correlation
from potstill.teacher.calculator import TeacherCalculator

STEPS_PER_LOOK = 5


class MD(TrajectoryOptions):
    """Frames of the teacher's own molecular dynamics (Langevin, constant volume)."""

    source: Literal["md"] = "md"
    temperatures_kelvin: Annotated[
        tuple[Annotated[float, Field(gt=0)], ...],
        Field(
            min_length=1,
            description="temperatures of the Langevin thermostat in K; one of them is drawn for each trajectory",
        ),
    ] = (300.0, 600.0, 1000.0)
    timestep_fs: Annotated[
        float, Field(gt=0, le=5, description="timestep of the dynamics in fs; half of it for structures with hydrogen")
    ] = 1.0
    friction_per_ps: Annotated[float, Field(gt=0, description="friction of the Langevin thermostat in 1/ps")] = 10.0
    equilibration_fs: Annotated[float, Field(ge=0, description="simulated time before the first frame, in fs")] = 200.0
    min_interval_fs: Annotated[float, Field(ge=0, description="smallest simulated time between two frames, in fs")] = 25.0
    max_force_correlation: Annotated[
        float,
        Field(gt=-1, lt=1, description="largest cosine between the forces of a frame and those of the last frame kept"),
    ] = 0.5
    max_interval_fs: Annotated[
        float, Field(gt=0, description="longest simulated time without a new frame, in fs; the trajectory ends then")
    ] = 500.0
    min_crystal_atoms: Annotated[
        int, Field(gt=0, description="number of atoms up to which crystals are repeated, as far as max_atoms allows")
    ] = 8
    min_image_angstrom: ImageDistance = 0.0

    def trajectory(
        self, parent: Structure, number: int, teacher: Teacher, rng: np.random.Generator
    ) -> Iterator[Structure | Refused]:
        from ase.calculators.calculator import CalculationFailed

        start = repeat_crystal(parent, self.min_crystal_atoms, self.max_atoms, self.min_image_angstrom)
        kelvin = float(rng.choice(self.temperatures_kelvin))
        atoms: Any = start.to_ase()
        atoms.calc = TeacherCalculator(teacher)
        draw_velocities(atoms, kelvin, rng, exact=False)
        dynamics, timestep = langevin(
            atoms, kelvin, timestep_fs=self.timestep_fs, friction_per_ps=self.friction_per_ps, rng=rng
        )
        kept: Array | None = None
        since = 0.0
        elapsed = 0.0
        while True:
            try:
                dynamics.run(STEPS_PER_LOOK)
                forces, frame = atoms.get_forces(), start.with_(positions=atoms.positions)
            except (CalculationFailed, StructureError) as error:
                raise TrajectoryError("dynamics_failed", f"after {elapsed:g} fs at {kelvin:g} K: {error}") from error
            elapsed += STEPS_PER_LOOK * timestep
            equilibrated = elapsed >= self.equilibration_fs
            self._look(frame, atoms.get_temperature() if equilibrated else 0.0, kelvin, elapsed)
            if not equilibrated:
                continue
            since += STEPS_PER_LOOK * timestep
            if kept is None or (since >= self.min_interval_fs and correlation(forces, kept) <= self.max_force_correlation):
                kept, since = forces, 0.0
                centred = frame.positions - (frame.positions - start.positions).mean(axis=0)
                metadata = {"trajectory": number, "temperature_kelvin": kelvin, "time_fs": elapsed}
                yield child_of(start, centred, start.cell, metadata)
            elif since >= self.max_interval_fs:
                raise TrajectoryError("correlated", f"no frame after {elapsed:g} fs is uncorrelated with the last one kept")

    def _look(self, frame: Structure, found: float, kelvin: float, elapsed: float) -> None:
        """Raise TrajectoryError where atoms came too close or the temperature left the range."""
        fault = self.too_close(frame)
        if fault:
            raise TrajectoryError("too_close", f"after {elapsed:g} fs at {kelvin:g} K: {fault}")
        if found > EXPLODED * kelvin:
            raise TrajectoryError("exploded", f"after {elapsed:g} fs: {found:.0f} K at a thermostat of {kelvin:g} K")
