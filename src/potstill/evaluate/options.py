"""Section ``evaluate`` of the config: the physics checks and their limits."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from potstill.core.registry import nearest
from potstill.core.section import Section

SHORTEST_PS = 0.005


class EvaluateConfig(Section):
    """Section ``evaluate``: the physics checks of the student and their limits."""

    nve_ps: Annotated[float, Field(ge=0, description="length of each constant-energy run in ps; 0 for none")] = 1.0
    nve_temperature_kelvin: Annotated[float, Field(gt=0, description="initial temperature")] = 300.0
    max_nve_drift_mev_per_atom: Annotated[
        float, Field(gt=0, description="largest accepted drift of the total energy over a constant-energy run, in meV/atom")
    ] = 5.0
    max_force_error_ratio: Annotated[
        float, Field(gt=0, description="largest accepted force MAE over that of predicting zero, for all sources")
    ] = 1 / 3
    max_force_error_ratio_per_source: Annotated[
        float, Field(gt=0, description="largest accepted force MAE over that of predicting zero, for each source")
    ] = 0.5
    speed_repeats: Annotated[int, Field(gt=0, description="number of timed calls of student and teacher, in turn")] = 5
    speed_atoms: Annotated[
        int,
        Field(ge=0, description="number of atoms of the largest cell in the curve of speed against size; 0 for no curve"),
    ] = 256
    max_force_error_ratio_per_element: Annotated[
        float,
        Field(
            gt=0,
            description="largest accepted force MAE over that of predicting zero, for the element with the worst forces",
        ),
    ] = 0.7
    min_atoms_of_judged_element: Annotated[
        int, Field(ge=1, description="smallest number of held-out atoms with which an element is judged")
    ] = 20
    max_force_cosine_gap: Annotated[
        float, Field(gt=0, description="largest accepted value of 1 - mean cosine between the forces of student and teacher")
    ] = 0.15
    max_softening: Annotated[
        float,
        Field(gt=0, description="largest accepted distance from 1 of the slope of the student's forces on the teacher's"),
    ] = 0.08
    max_energy_error_ratio: Annotated[
        float, Field(gt=0, description="largest accepted energy MAE over that of a prediction from the composition alone")
    ] = 0.5
    max_stress_error_ratio: Annotated[
        float, Field(gt=0, description="largest accepted stress MAE over that of predicting zero")
    ] = 0.5
    physics_crystals: Annotated[int, Field(ge=0, description="number of held-out crystals in the physics checks")] = 2
    physics_molecules: Annotated[int, Field(ge=0, description="number of held-out molecules in the physics checks")] = 1
    physics_pairs: Annotated[int, Field(ge=0, description="number of pairs of elements in the check of dimers")] = 10
    physics_ps: Annotated[
        float, Field(ge=0, description="length of the dynamics with student and teacher in ps; 0 for none")
    ] = 0.15
    stability_ps: Annotated[
        float, Field(ge=0, description="length of the student's hot run and of its constant-pressure run in ps; 0 for none")
    ] = 1.0
    limits: Annotated[
        dict[str, Annotated[float, Field(ge=0)]],
        Field(description="limits of physics checks by name that replace the default ones"),
    ] = {}

    @field_validator("nve_ps", "physics_ps", "stability_ps")
    @classmethod
    def _refuse_few_steps(cls, length_ps: float) -> float:
        if 0 < length_ps < SHORTEST_PS:
            raise ValueError(
                f"{length_ps:g} ps are a few steps, which show nothing: {SHORTEST_PS:g} ps or more, or 0 for none"
            )
        return length_ps

    @field_validator("limits")
    @classmethod
    def _refuse_unknown_checks(cls, limits: dict[str, float]) -> dict[str, float]:
        from potstill.evaluate.gates import GATES

        for name in limits:
            own = [option for option in cls.model_fields if name not in GATES and option.startswith(f"max_{name}")]
            if own:
                raise ValueError(f"the limit of '{name}' has an option of its own: {', '.join(own)}")
            if name not in GATES:
                raise ValueError(f"no physics check '{name}'; {nearest(name, GATES)}")
        return limits
