"""Sizes of a student: a tier or single sizes in the config, sizes and elements in its file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializationInfo, SerializerFunctionWrapHandler, model_serializer, model_validator

from potstill.core.errors import InputError
from potstill.core.section import Range, Section
from potstill.core.types import MAX_ATOMIC_NUMBER

Tier = Literal["nano", "small", "base", "large", "xl"]
Backend = Literal["auto", "fused", "gpu", "torch"]

SIZES: dict[str, dict[str, int]] = {
    "nano": {"features": 96, "channels": 64, "vectors": 32, "products": 32, "hidden": 192, "experts": 1},
    "small": {"features": 128, "channels": 64, "vectors": 32, "products": 64, "hidden": 256, "experts": 2},
    "base": {"features": 128, "channels": 64, "vectors": 32, "products": 64, "hidden": 256, "experts": 15},
    "large": {"features": 192, "channels": 96, "vectors": 32, "products": 96, "hidden": 320, "experts": 16},
    "xl": {"features": 256, "channels": 128, "vectors": 48, "products": 96, "hidden": 448, "experts": 20},
}


EVERY_DEFAULT = {"every_default": True}  # context of a dump in which no option may be missing
BOND_SHARE = 1.6  # of the square of a bond in relative distances; students in files rely on it
LARGEST = 4096  # largest value of a size: nine times that of the largest tier


class StudentConfig(Section):
    """Section ``student`` of the config. A tier sets the sizes; each of them can be overridden."""

    tier: Annotated[Tier, Field(description="tier that sets the sizes: nano, small, base, large or xl")] = "base"
    cutoff_angstrom: Annotated[float, Field(gt=2.0, le=8.0, description="radius of the atomic environment in Å")] = 5.0
    layers: Annotated[int, Field(ge=1, le=6, description="number of message-passing layers")] = 2
    l_max: Annotated[int, Field(ge=2, le=3, description="highest order of the spherical harmonics")] = 2
    radial: Annotated[int, Field(ge=2, le=16, description="number of radial basis functions")] = 8
    radial_distance: Annotated[
        Literal["absolute", "relative"],
        Field(
            description="distance in the radial functions: absolute, or relative to the sum of the covalent radii of both "
            "atoms, so that a student of many elements carries over from bonds to bonds"
        ),
    ] = "absolute"
    features: Annotated[int, Field(ge=8, le=LARGEST, description="number of scalar features per atom")] = SIZES["base"][
        "features"
    ]
    channels: Annotated[
        int, Field(ge=4, le=LARGEST, description="number of scalars that an atom sends to its neighbors")
    ] = SIZES["base"]["channels"]
    vectors: Annotated[
        int, Field(ge=0, le=LARGEST, description="number of vectors that an atom sends, from the second layer on")
    ] = SIZES["base"]["vectors"]
    products: Annotated[int, Field(ge=4, le=LARGEST, description="number of products of densities for each order")] = SIZES[
        "base"
    ]["products"]
    hidden: Annotated[int, Field(ge=8, le=LARGEST, description="width of the hidden layer of the network per atom")] = SIZES[
        "base"
    ]["hidden"]
    experts: Annotated[
        int, Field(ge=1, le=LARGEST, description="number of expert matrices, mixed into one network per element")
    ] = SIZES["base"]["experts"]

    parameters_between: Annotated[
        Range | None,
        Field(description="allowed range of the number of parameters, such as [5.0e6, 2.0e7]; a student outside is refused"),
    ] = None

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, told: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        """Leave out absolute distances, so that students and trainings from before the option keep their checksums."""
        found: dict[str, Any] = told(self)
        if found.get("radial_distance") == "absolute" and info.context != EVERY_DEFAULT:
            del found["radial_distance"]
        return found

    @model_validator(mode="before")
    @classmethod
    def _sizes_of_tier(cls, given: Any) -> Any:
        if isinstance(given, dict) and isinstance(given.get("tier"), str):
            return {**SIZES.get(given["tier"], {}), **given}
        return given


class StudentArchitecture(StudentConfig):
    """Complete description of a student's network."""

    atomic_numbers: Annotated[
        tuple[Annotated[int, Field(ge=1, le=MAX_ATOMIC_NUMBER)], ...],
        Field(min_length=1, description="atomic numbers of the supported elements, in order"),
    ]

    @property
    def bond_share(self) -> float:
        """Return the share of a bond in relative distances, as kernels and files take it; 0 where they are absolute."""
        return BOND_SHARE if self.radial_distance == "relative" else 0.0

    @model_validator(mode="after")
    def _each_once(self) -> StudentArchitecture:
        if len(set(self.atomic_numbers)) < len(self.atomic_numbers):
            raise ValueError("atomic_numbers has an element twice")
        return self


def refuse_outside(config: StudentConfig, parameters: int) -> None:
    """Raise InputError where a student's number of parameters is outside the range of its config.

    Raises
    ------
    InputError
        If it is outside; the message states the count, the range and the tiers.
    """
    if config.parameters_between is None:
        return
    least, most = config.parameters_between
    if not least <= parameters <= most:
        raise InputError(
            f"this student has {parameters / 1e6:.2f} million parameters; student.parameters_between asks for "
            f"{least / 1e6:g} to {most / 1e6:g} million\n"
            "  choose another student.tier (nano, small, base, large, xl) or other sizes, or change the range"
        )
