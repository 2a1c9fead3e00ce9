"""Every check, in the order of the report.

A check compares a measured figure with a limit of section ``audit``; it never changes data and never guesses. Each is in the
module of its family and registers itself with :func:`potstill.audit.registry.check`.
"""

from __future__ import annotations

from potstill.audit import (
    beside_general,
    chemistry,
    diversity,
    duplicates,
    energy_work,
    equivalence,
    follow_general,
    geometry,
    integrity,
    labels,
    lone_atoms,
    pair_fit,
    process,
    replay,
    splits,
    zeros,
)
from potstill.audit.evidence import Check, Evidence
from potstill.audit.registry import FAMILIES as NAMES
from potstill.audit.registry import checks_of

__all__ = ["CHECKS", "FAMILIES", "MODULES", "Check", "Evidence"]

MODULES = (
    process,
    diversity,
    duplicates,
    geometry,
    chemistry,
    labels,
    energy_work,
    pair_fit,
    beside_general,
    follow_general,
    lone_atoms,
    zeros,
    replay,
    equivalence,
    splits,
    integrity,
)
_PLACE = {module.__name__: k for k, module in enumerate(MODULES)}
FAMILIES: dict[str, tuple[Check, ...]] = {
    name: tuple(sorted(checks_of(name), key=lambda check: _PLACE[check.__module__])) for name in NAMES
}
CHECKS: tuple[Check, ...] = tuple(check for family in FAMILIES.values() for check in family)
