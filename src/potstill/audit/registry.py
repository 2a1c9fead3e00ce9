"""The register of checks: each names its family, limits, needs and advice where it is defined.

A check is a function from :class:`~potstill.audit.evidence.Evidence` to one finding, decorated with :func:`check`. A check
whose needs are missing is not called. Its finding is DOES_NOT_APPLY where such data never have them, else NOT_RUN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps

from potstill.audit.evidence import Check, Evidence
from potstill.audit.mend import Mend
from potstill.audit.options import AuditConfig
from potstill.core.verdict import Finding, does_not_apply, not_run

FAMILIES = ("process", "diversity", "duplicates", "geometry", "chemistry", "labels", "splits", "integrity")


@dataclass(frozen=True, slots=True)
class Need:
    """Evidence that a check needs.

    Parameters
    ----------
    lacking
        Function that returns why the evidence is missing, or an empty text.
    by_nature
        Function that returns whether the check does not apply to data without it; else it is NOT_RUN.
    remedy
        Advice to a user whose check did not run without it, or a function that returns it.
    """

    lacking: Callable[[Evidence], str]
    by_nature: Callable[[Evidence], bool]
    remedy: str | Callable[[Evidence], str] = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One check with its metadata.

    Parameters
    ----------
    check
        Function of the check; it tests for its needs first.
    family
        One of :data:`FAMILIES`.
    unit
        Unit of its figure and limit.
    gates
        Options of section ``audit`` that limit it.
    needs
        Evidence without which it is not called.
    mend
        Advice where it is NO_GO: a text, or a function that also changes the config.
    """

    check: Check
    family: str
    unit: str
    gates: tuple[str, ...]
    needs: tuple[Need, ...]
    mend: Mend | str

    def remedy(self, evidence: Evidence) -> str:
        """Return the advice for the first missing need; empty where none is missing."""
        remedy = next((need.remedy for need in self.needs if need.lacking(evidence)), "")
        return remedy if isinstance(remedy, str) else remedy(evidence)


ENTRIES: dict[str, Entry] = {}


def check(
    family: str, *, unit: str, mend: Mend | str, gates: Sequence[str] = (), needs: Sequence[Need] = ()
) -> Callable[[Check], Check]:
    """Register a function as the check of its name; see :class:`Entry`.

    Raises
    ------
    ValueError
        If there is no such family or gate, or the name is taken.
    """

    def register(judge: Check) -> Check:
        name = judge.__name__
        unknown = set(gates) - set(AuditConfig.model_fields)
        if family not in FAMILIES or unknown or name in ENTRIES:
            raise ValueError(f"check '{name}': no family '{family}', unknown gates {sorted(unknown)}, or name taken")

        @wraps(judge)
        def checked(evidence: Evidence) -> Finding:
            for need in needs:
                if why := need.lacking(evidence):
                    return (does_not_apply if need.by_nature(evidence) else not_run)(name, unit, why)
            return judge(evidence)

        ENTRIES[name] = Entry(checked, family, unit, tuple(gates), tuple(needs), mend)
        return checked

    return register


def checks_of(family: str) -> tuple[Check, ...]:
    """Return the checks of a family, in the order of their definition."""
    return tuple(entry.check for entry in ENTRIES.values() if entry.family == family)
