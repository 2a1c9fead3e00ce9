"""Section ``generate`` of the config, and every source by its name."""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, field_validator, model_validator

from potstill.core.files import quoted
from potstill.core.registry import nearest, plugins
from potstill.core.section import ConfigPath, Section, refuse_unknown_symbols
from potstill.generate.alloys import Alloys
from potstill.generate.benchmark import Benchmark
from potstill.generate.chempleter import Chempleter
from potstill.generate.clusters import Clusters
from potstill.generate.crystals import Crystals
from potstill.generate.defects import Defects
from potstill.generate.dimers import Dimers
from potstill.generate.files import Files
from potstill.generate.filter import FilterOptions
from potstill.generate.liquids import Liquids
from potstill.generate.mattergen import MatterGen
from potstill.generate.md import MD
from potstill.generate.melts import Melts
from potstill.generate.mix import Contingency
from potstill.generate.moldiff import MolDiff
from potstill.generate.molecules import Molecules
from potstill.generate.mutants import Mutants
from potstill.generate.perturb import Perturb
from potstill.generate.prototypes import Prototypes
from potstill.generate.source import Families, SourceOptions
from potstill.generate.surfaces import Surfaces
from potstill.generate.torsions import Torsions
from potstill.generate.trees import Trees
from potstill.teacher.given import is_given
from potstill.teacher.options import TeacherOptions

SOURCES: dict[str, type[SourceOptions]] = {
    "molecules": Molecules,
    "crystals": Crystals,
    "benchmark": Benchmark,
    "prototypes": Prototypes,
    "alloys": Alloys,
    "surfaces": Surfaces,
    "clusters": Clusters,
    "melts": Melts,
    "liquids": Liquids,
    "mutants": Mutants,
    "chempleter": Chempleter,
    "torsions": Torsions,
    "dimers": Dimers,
    "defects": Defects,
    "perturb": Perturb,
    "trees": Trees,
    "md": MD,
    "files": Files,
    "mattergen": MatterGen,
    "moldiff": MolDiff,
    **plugins("sources"),
}

if TYPE_CHECKING:
    AnySource = SourceOptions
else:
    AnySource = Annotated[functools.reduce(operator.or_, SOURCES.values()), Field(discriminator="source")]


class GenerateConfig(Section):
    """Section ``generate``: the sources of structures."""

    elements: Annotated[
        tuple[str, ...],
        Field(description="chemical symbols of sources that name none themselves; all that a source can make where empty"),
    ] = ()
    sources: Annotated[
        tuple[AnySource, ...], Field(min_length=1, description="sources of structures, in the order in which they run")
    ]
    filter: Annotated[
        FilterOptions, Field(description="limits of the geometry filter, which refuses structures before labelling")
    ] = FilterOptions()

    families: Annotated[
        Families,
        Field(
            description="unit of the split; composition: all structures of one composition with their copies; structure: "
            "each structure by itself, for a dataset of one system"
        ),
    ] = "composition"
    contingency: Annotated[
        Contingency,
        Field(description="shares of the mix that --fallback takes where a generative source is missing or fails"),
    ] = Contingency()
    balance: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="share of the candidates made of a source's common elements that are refused, 0 to below 1",
        ),
    ] = 0.0
    after: Annotated[
        tuple[ConfigPath, ...],
        Field(description="folders of earlier runs; candidates are numbered on from theirs, so that nothing is made twice"),
    ] = ()

    @field_validator("elements")
    @classmethod
    def _known_elements(cls, symbols: tuple[str, ...]) -> tuple[str, ...]:
        refuse_unknown_symbols(symbols)
        return symbols

    @model_validator(mode="after")
    def _consistent(self) -> GenerateConfig:
        names = [source.name for source in self.sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two sources are named {', '.join(twice)}; give one of them another 'label'")
        if self.sources[0].derived:
            raise ValueError(f"the source '{names[0]}' starts from earlier sources, so it cannot be the first")
        for k, source in enumerate(self.sources):
            for parent in getattr(source, "parents", ()):
                if parent not in names[:k]:
                    raise ValueError(
                        f"'{names[k]}' starts from '{parent}', no source before it; {nearest(parent, names[:k])}"
                    )
        return self

    def lacking_runs(self) -> list[str]:
        """Return one line for each run of ``after`` that has no structures, with the command that makes them."""
        return [
            f"generate.after: {earlier} is no run folder with structures\n"
            f"  make them first:  potstill generate CONFIG --out {quoted(earlier)}"
            for earlier in self.after
            if not (earlier / "structures" / "structures.h5").exists()
        ]

    def resolved_sources(self, teacher: TeacherOptions | None = None) -> list[SourceOptions]:
        """Return the sources with the section's elements and the teacher of the labels where they state none.

        Files keep their labels where that teacher is ``given``.
        """

        def resolved(source: SourceOptions) -> SourceOptions:
            shared = {
                "elements": self.elements,
                "teacher": teacher if source.needs_teacher else None,
                "labels": is_given(teacher),
            }
            known = {k: v for k, v in shared.items() if k in type(source).model_fields and not getattr(source, k)}
            return source.model_copy(update=known)

        return [resolved(source) for source in self.sources]
