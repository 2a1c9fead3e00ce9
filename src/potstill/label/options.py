"""Section ``label`` of the config."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from potstill.core.section import Section
from potstill.teacher.choices import AnyTeacher
from potstill.teacher.extras import Extra
from potstill.teacher.sevennet import SevenNet


class SelectOptions(Section):
    """Section ``label.select``: the number of generated structures to label, and how they are chosen."""

    count: Annotated[int | None, Field(gt=0, description="number of structures to label")] = None
    fraction: Annotated[
        float | None, Field(gt=0, le=1, description="share of the generated structures to label, instead of a count")
    ] = None
    by: Annotated[
        Literal["committee", "farthest", "random"],
        Field(
            description="rule of the choice; committee: some at random, then those on which students trained on "
            "these disagree;"
            "farthest: those that cover all the others; random: at random"
        ),
    ] = "committee"
    first_fraction: Annotated[
        float,
        Field(gt=0, lt=1, description="share of the labelled structures that is drawn at random to train the committee"),
    ] = 0.3

    @model_validator(mode="after")
    def _one_size(self) -> SelectOptions:
        if (self.count is None) == (self.fraction is None):
            raise ValueError("expected either 'count' or 'fraction'")
        return self

    def wanted(self, total: int) -> int:
        """Return the number of structures to label out of ``total``."""
        return min(total, self.count or max(1, round((self.fraction or 0.0) * total)))


class LabelConfig(Section):
    """Section ``label``: the teacher and the limits of its labels."""

    teacher: Annotated[AnyTeacher, Field(description="teacher: the slow model that labels the structures")] = SevenNet()
    max_force_ev_per_angstrom: Annotated[
        float, Field(gt=0, description="largest force on an atom in eV/Å; a structure above is refused")
    ] = 30.0
    max_stress_ev_per_cubic_angstrom: Annotated[
        float,
        Field(gt=0, description="largest component of stress in eV/Å^3 (1 eV/Å^3 is 160 GPa); a crystal above is refused"),
    ] = 1.0
    timeout_seconds_per_structure: Annotated[
        float | None,
        Field(
            gt=0,
            description="longest time of the teacher for a structure in s; a structure above is refused; no limit "
            "where null",
        ),
    ] = 120.0
    select: Annotated[
        SelectOptions | None, Field(description="choice of the generated structures to label; all where null")
    ] = None
    extra: Annotated[
        tuple[Extra, ...],
        Field(
            description="arrays per atom stored beside the labels: local_energies, node_embeddings, "
            "hessian_vector_products (two more calls of the teacher per structure), force_disagreement (of the committee)"
        ),
    ] = ()
    committee: Annotated[
        tuple[AnyTeacher, ...], Field(description="further teachers, for the extra force_disagreement")
    ] = ()
    structures_per_task: Annotated[
        int,
        Field(
            gt=0, le=10_000, description="number of structures in one part file; a kill costs at most one part per worker"
        ),
    ] = 32

    @model_validator(mode="after")
    def _committee_and_its_use(self) -> LabelConfig:
        if bool(self.committee) != ("force_disagreement" in self.extra):
            raise ValueError("a 'committee' needs the extra 'force_disagreement' and vice versa: give both or none")
        return self
