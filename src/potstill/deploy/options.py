"""Section ``deploy`` of the config."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from potstill.core.section import Section

DeployFormat = Literal["ase", "lammps", "openmm", "torchsim", "metatomic", "ipi", "pt2"]


class DeployConfig(Section):
    """Section ``deploy``: formats of the export."""

    formats: Annotated[tuple[DeployFormat, ...], Field(description="formats to export, one per engine")] = ("ase",)
