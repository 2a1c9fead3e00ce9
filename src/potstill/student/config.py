"""What a student is made of: sizes in the config, sizes and elements in its file."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class StudentConfig(BaseModel):
    """Section ``student`` of the config."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cutoff_angstrom: Annotated[float, Field(gt=2.0, le=8.0, description="radius of an atom's surroundings")] = 5.0
    layers: Annotated[int, Field(ge=1, le=6, description="rounds of message passing")] = 2
    features: Annotated[int, Field(ge=8, description="scalar features per atom")] = 128
    channels: Annotated[int, Field(ge=4, description="channels of the density sent to neighbours")] = 64
    radial: Annotated[int, Field(ge=2, description="radial basis functions")] = 8
    hidden: Annotated[int, Field(ge=8, description="width of the network per atom")] = 256


class StudentArchitecture(StudentConfig):
    """All that is needed to build a student again."""

    atomic_numbers: Annotated[tuple[int, ...], Field(min_length=1, description="elements it knows, in order")]
