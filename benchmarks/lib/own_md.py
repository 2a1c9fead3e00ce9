"""Langevin MD with any calculator, a frame at a time: of students that are judged, and of what labels for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from potstill.core.dynamics import draw_velocities, langevin

FRICTION_PER_PS = 10.0


def run_md(atoms: Any, kelvin: float, *, length_ps: float, every_fs: float, rng: np.random.Generator) -> Iterator[Any]:
    """Draw velocities, run NVT, and yield the same ASE ``Atoms``, moved on, at each interval.

    Parameters
    ----------
    atoms
        Atoms with a calculator.
    kelvin
        Temperature in K.
    length_ps, every_fs
        Length of the trajectory in ps, and time between two frames in fs.
    rng
        Generator of the random numbers.
    """
    draw_velocities(atoms, kelvin, rng)
    dynamics, timestep = langevin(atoms, kelvin, timestep_fs=1.0, friction_per_ps=FRICTION_PER_PS, rng=rng)
    for _ in range(round(1000 * length_ps / every_fs)):
        dynamics.run(round(every_fs / timestep))
        yield atoms
