"""Teachers: energy, forces and stress of every structure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from potstill.core.types import Teacher


def load_teacher(name: str, **options: Any) -> Teacher:
    """Load a teacher by name, ready to label.

    Parameters
    ----------
    name
        ``"sevennet"``, ``"chgnet"``, ``"orb-v2"``, ``"orb-v3"``, ``"mace"``, ``"xtb"``, ``"ase"``, ``"emt"``,
        ``"lennard-jones"``, or one that another package offers.
    options
        Options of section ``label.teacher`` of a config.

    Raises
    ------
    InputError
        If the name or an option is unknown, or the weights are missing.
    MissingExtraError
        If its package is not installed.
    """
    from potstill.teacher.choices import parse_teacher
    from potstill.teacher.opening import open_teacher

    return open_teacher(parse_teacher({"name": name, **options}))
