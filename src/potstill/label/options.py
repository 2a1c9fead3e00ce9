"""Section ``label`` of the config."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from potstill.core.section import Section
from potstill.teacher.choices import AnyTeacher
from potstill.teacher.extras import Extra
from potstill.teacher.sevennet import SevenNet


class SelectOptions(Section):
    """Section ``label.select``: how many of the generated structures are labelled, and which."""

    count: Annotated[int | None, Field(gt=0, description="structures to label")] = None
    fraction: Annotated[
        float | None, Field(gt=0, le=1, description="share of the structures to label, instead of a count")
    ] = None
    by: Annotated[
        Literal["committee", "farthest", "random"],
        Field(
            description="committee: some at random, then those on which students that learnt from these disagree; "
            "farthest: those that cover all the others; random: any"
        ),
    ] = "committee"
    first_fraction: Annotated[
        float, Field(gt=0, lt=1, description="share of them that is drawn at random for the committee to learn from")
    ] = 0.3

    @model_validator(mode="after")
    def _one_size(self) -> SelectOptions:
        if (self.count is None) == (self.fraction is None):
            raise ValueError("give 'count' or 'fraction', one of the two")
        return self

    def wanted(self, total: int) -> int:
        """How many of so many."""
        return min(total, self.count or max(1, round((self.fraction or 0.0) * total)))


class LabelConfig(Section):
    """Section ``label``: the teacher and what is accepted from it."""

    teacher: Annotated[AnyTeacher, Field(description="the slow model that is learnt from")] = SevenNet()
    max_force_ev_per_angstrom: Annotated[
        float, Field(gt=0, description="a structure with a larger force on any atom is refused")
    ] = 30.0
    max_stress_ev_per_cubic_angstrom: Annotated[
        float, Field(gt=0, description="a crystal with a larger component of stress is refused; 1 eV/Å^3 is 160 GPa")
    ] = 1.0
    timeout_seconds_per_structure: Annotated[
        float | None, Field(gt=0, description="a structure that takes the teacher longer is refused; no limit where null")
    ] = 120.0
    select: Annotated[
        SelectOptions | None, Field(description="which of the generated structures are labelled; all where null")
    ] = None
    extra: Annotated[
        tuple[Extra, ...],
        Field(
            description="what is stored of each atom beside the labels: local_energies, node_embeddings, "
            "hessian_vector_products (twice more questions to the teacher), force_disagreement (of the committee)"
        ),
    ] = ()
    committee: Annotated[
        tuple[AnyTeacher, ...], Field(description="further teachers, for the disagreement of the forces")
    ] = ()
    structures_per_task: Annotated[
        int, Field(gt=0, le=10_000, description="structures in one part file; a kill costs at most one part per worker")
    ] = 32

    @model_validator(mode="after")
    def _committee_and_its_use(self) -> LabelConfig:
        if bool(self.committee) != ("force_disagreement" in self.extra):
            raise ValueError("a 'committee' and the extra 'force_disagreement' belong together: give both or none")
        return self
