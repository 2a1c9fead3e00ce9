"""Trees: rattle, relax a little, repeat from any structure found so far.

Takes parents and a teacher and makes structures further and further from a parent, at the energies that a relaxation passes
through. The procedure is that of augment-atoms (Gardner, pypi.org/project/augment-atoms). A family tree starts with the
parent alone. To add a member, an earlier member is drawn, rattled and relaxed for some steps with the teacher's forces.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from potstill.core.errors import StructureError
from potstill.core.section import Range
from potstill.core.types import Refused, Structure, Teacher
from potstill.generate.distort import draw_strain, monte_carlo_rattle
from potstill.generate.parents import child_of
from potstill.generate.trajectories import TrajectoryOptions
from potstill.teacher.calculator import TeacherCalculator

LONGEST_STEP_ANGSTROM = 0.1
STILL_EV_PER_ANGSTROM = 0.01


class Trees(TrajectoryOptions):
    """Members of trees that grow by rattling and relaxing."""

    source: Literal["trees"] = "trees"
    rattle_angstrom: Annotated[
        Range, Field(description="range of the standard deviation of each coordinate in a rattle, in Å")
    ] = (0.05, 0.3)
    max_strain: Annotated[
        float,
        Field(ge=0, lt=0.5, description="largest entry of the symmetric strain tensor of a rattle, for periodic structures"),
    ] = 0.03
    max_relax_steps: Annotated[
        int, Field(ge=0, description="largest number of LBFGS steps after a rattle; the number is drawn from 0 up to this")
    ] = 10
    relax_cell: Annotated[
        bool, Field(description="true: the cell of a crystal relaxes with its atoms; false: it is fixed")
    ] = False

    @property
    def needed_properties(self) -> frozenset[str]:
        return frozenset({"stress"}) if self.relax_cell else frozenset()

    def trajectory(
        self, parent: Structure, number: int, teacher: Teacher, rng: np.random.Generator
    ) -> Iterator[Structure | Refused]:
        members, depths = [parent], [0]
        for _ in range(self.frames):
            at = int(rng.integers(len(members)))
            sigma, steps = float(rng.uniform(*self.rattle_angstrom)), int(rng.integers(self.max_relax_steps + 1))
            relaxed = self._relax(self._rattle(members[at], sigma, rng), teacher, steps)
            if isinstance(relaxed, Refused):
                yield relaxed
                continue
            metadata = {"tree": number, "depth": depths[at] + 1, "rattle_angstrom": sigma, "max_relax_steps": steps}
            members.append(relaxed)
            depths.append(depths[at] + 1)
            yield child_of(parent, relaxed.positions, relaxed.cell, metadata)

    def _rattle(self, member: Structure, sigma: float, rng: np.random.Generator) -> Structure:
        strain = draw_strain("symmetric", self.max_strain, rng) if member.pbc.all() else np.zeros((3, 3))
        deformation = np.eye(3) + strain
        strained = member.with_(positions=member.positions @ deformation, cell=member.cell @ deformation)
        return strained.with_(positions=monte_carlo_rattle(strained, sigma, self.min_scaled_distance, rng))

    def _relax(self, structure: Structure, teacher: Teacher, steps: int) -> Structure | Refused:
        from ase.calculators.calculator import CalculationFailed
        from ase.filters import FrechetCellFilter
        from ase.optimize import LBFGS

        atoms: Any = structure.to_ase()
        atoms.calc = TeacherCalculator(teacher)
        try:
            if steps:
                relaxation: Any = LBFGS  # its types do not allow a missing log
                moved: Any = FrechetCellFilter(atoms) if self.relax_cell and structure.pbc.all() else atoms
                relaxation(moved, logfile=None, maxstep=LONGEST_STEP_ANGSTROM).run(STILL_EV_PER_ANGSTROM, steps)
            relaxed = structure.with_(positions=atoms.positions, cell=np.array(atoms.cell))
        except (CalculationFailed, StructureError) as error:
            return Refused("relaxation_failed", f"{structure.id}: {error}")
        fault = self.too_close(relaxed)
        return Refused("too_close", f"{structure.id}, rattled and relaxed: {fault}") if fault else relaxed
