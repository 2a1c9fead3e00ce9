"""Every teacher by its name, and the check of its options."""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from potstill.core.errors import InputError
from potstill.core.registry import plugins
from potstill.core.section import config_error
from potstill.teacher.ase import AseCalculator
from potstill.teacher.chgnet import CHGNet
from potstill.teacher.classical import EMT, LennardJones
from potstill.teacher.given import Given
from potstill.teacher.mace import MACE
from potstill.teacher.options import TeacherOptions
from potstill.teacher.orb import OrbV2, OrbV3
from potstill.teacher.sevennet import SevenNet
from potstill.teacher.xtb import XTB

TEACHERS: dict[str, type[TeacherOptions]] = {
    "sevennet": SevenNet,
    "chgnet": CHGNet,
    "orb-v2": OrbV2,
    "orb-v3": OrbV3,
    "mace": MACE,
    "xtb": XTB,
    "ase": AseCalculator,
    "lennard-jones": LennardJones,
    "emt": EMT,
    "given": Given,
    **plugins("teachers"),
}

if TYPE_CHECKING:
    AnyTeacher = TeacherOptions
else:
    AnyTeacher = Annotated[functools.reduce(operator.or_, TEACHERS.values()), Field(discriminator="name")]


def parse_teacher(data: dict[str, Any]) -> TeacherOptions:
    """Check the options of a teacher.

    Raises
    ------
    InputError
        If an option is wrong: one line for each fault with its dotted path, found, expected and the nearest name; or if the
        teacher stands for labels that the user has.
    """
    try:
        options = TypeAdapter[TeacherOptions](AnyTeacher).validate_python(data)
    except ValidationError as error:
        raise config_error("teacher", error, TeacherOptions, {"name": TEACHERS}) from None
    if not options.on_demand:
        raise InputError(
            "the teacher 'given' stands for labels in the user's files and cannot be asked\n"
            "  use it as label.teacher in a config, or name a teacher that computes; see  potstill doctor"
        )
    return options
