"""Gates that nothing was judged by, with the reason: what a GO does not say.

Takes the stored report of an evaluation. What the data have none of by nature, such as torsions in crystals, is not named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from potstill.core.verdict import Verdict
from potstill.evaluate.gates import KINDS, NEEDS, NO_TEACHER, OF_PAIRS, asked_of
from potstill.evaluate.options import EvaluateConfig
from potstill.report.page import readable

MOST_NAMED = 4


@dataclass(frozen=True, slots=True)
class Unjudged:
    """Gates that were not judged for one reason.

    Parameters
    ----------
    reason
        Reason, as the end of a sentence that begins with "not judged, since".
    checks
        Names of the gates.
    """

    reason: str
    checks: tuple[str, ...]

    @property
    def text(self) -> str:
        """Return the reason with all of the gates."""
        return f"{self.reason}: {', '.join(map(readable, self.checks))}"

    @property
    def short(self) -> str:
        """Return the reason with the first of the gates and the number of the others."""
        more = len(self.checks) - MOST_NAMED
        named = ", ".join(map(readable, self.checks[:MOST_NAMED]))
        return f"{self.reason}: {named}" + (f" and {more} more" if more > 0 else "")


def unjudged(report: Mapping[str, Any]) -> list[Unjudged]:
    """Return the gates that were not judged, by reason; reports of earlier versions name fewer."""
    findings = {finding["check"]: finding for finding in report.get("findings", [])}
    kinds = report.get("kinds", {})
    skipped = [name for name, f in findings.items() if f["verdict"] == Verdict.DOES_NOT_APPLY]
    without_teacher = [name for name in skipped if findings[name].get("why") == NO_TEACHER]
    beyond = [name for name in skipped if name in NEEDS and name not in without_teacher]
    stress = [name for name in skipped if name == "stress_error" and kinds.get("crystals")]
    found = {
        "its data contain none": beyond,
        "there is no teacher to compare with": without_teacher,
        "labels lack it": stress,
        "they were not asked for": _not_asked_for(findings, kinds),
    }
    return [Unjudged(reason, tuple(checks)) for reason, checks in found.items() if checks]


def _not_asked_for(findings: Mapping[str, Any], kinds: Mapping[str, Any]) -> list[str]:
    """Return the gates that the default config asks for and that have no finding."""
    if not findings or not kinds:
        return []
    default = EvaluateConfig()
    usual = [name for kind in KINDS if kinds.get(kind) for name in asked_of(kind, default)]
    usual += OF_PAIRS if usual else ()
    energy = ["nve"] if findings.get("nve", {}).get("verdict") == Verdict.DOES_NOT_APPLY else []
    return [*energy, *dict.fromkeys(name for name in usual if name not in findings)]
