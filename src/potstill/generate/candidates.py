"""Candidates of one task: a range of a source's numbers in, a sealed part file of the screened structures out.

This is what a worker runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from potstill.core.types import Refused, Structure
from potstill.dataset import write_part
from potstill.generate.files import origin
from potstill.generate.filter import FilterOptions
from potstill.generate.parents import open_parents
from potstill.generate.program import logs_in
from potstill.generate.source import Families, SourceOptions


@dataclass(frozen=True, slots=True)
class GenerateTask:
    """Candidates ``start … stop`` of one source, to be sealed at ``path``."""

    source: SourceOptions
    start: int
    stop: int
    seed: int
    filter: FilterOptions
    path: Path
    parents: Path | None = None
    families: Families = "composition"
    labelled: bool = False


def make_candidates(task: GenerateTask) -> int:
    """Make, screen and seal the candidates of one task (runs in a worker); return the number of good geometry."""
    parents: Sequence[Structure] = open_parents(task.parents) if task.parents else ()
    indices = range(task.start, task.stop)
    accepted: list[Structure] = []
    refused: list[Refused] = []
    with logs_in(task.path.parent.parent / "logs"):
        proposals = task.source.propose(indices, task.seed, parents)
    for index, proposal in zip(indices, proposals, strict=True):
        name = f"{task.source.name}-{index:06d}"
        screened = task.filter.screen(proposal) if isinstance(proposal, Structure) else proposal
        if isinstance(screened, Refused):
            detail = with_file(screened.detail, proposal)
            refused.append(Refused(screened.reason, detail, id=name, source=task.source.name, stage="generate"))
        else:
            family = name if task.families == "structure" else screened.family or screened.formula
            positions = screened.positions.astype(np.float32)  # the stored positions are the ones that will be labelled
            accepted.append(screened.with_(id=name, source=task.source.name, family=family, positions=positions))
    write_part(task.path, accepted, refused, labelled=task.labelled)
    return len(accepted)


def number_of(structure: Structure) -> int:
    """Return the number of a candidate, which its id ends with."""
    return int(structure.id.rpartition("-")[2])


def with_file(detail: str, proposal: Structure | Refused) -> str:
    """Return the detail of a refusal with the name of the file that the structure came from, if there is one."""
    if isinstance(proposal, Structure) and "file" in proposal.generator_metadata:
        return f"{origin(proposal)}: {detail}"
    return detail
