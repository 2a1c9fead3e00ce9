"""Advice for each check that failed: one sentence, and the change of the config that fixes it where there is one.

Takes the findings with their evidence and returns rows for ``audit.json``. A run also gets a whole config that ``potstill
check`` accepts, and a file of the user's own gets the section ``audit``. The advice of a check is defined together with the
check (:mod:`potstill.audit.registry`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import yaml

from potstill.audit.asked import config_in, name_of
from potstill.audit.evidence import Evidence
from potstill.audit.mend import Change, Trouble
from potstill.audit.registry import ENTRIES
from potstill.core.verdict import Finding, Verdict, is_failure


@dataclass(frozen=True, slots=True)
class Advice:
    """Advice about one finding.

    Parameters
    ----------
    check, source
        Name of the finding's check, and the source behind it; empty where no source is.
    why
        Fault, and the action that would fix it.
    change
        YAML of the sections of a config that change; empty where no config fixes it.
    """

    check: str
    source: str
    why: str
    change: str = ""


def advise(findings: Sequence[Finding], evidence: Evidence) -> list[Advice]:
    """Return advice for each finding that is NO_GO or NOT_RUN, in their order."""
    config = config_in(evidence.dataset.attributes)
    return [_advice(finding, evidence, config) for finding in findings if is_failure(finding.verdict)]


def mended(config: Change, advice: Sequence[Advice]) -> str:
    """Return the whole config with every change in it, as YAML.

    Where several changes count one source, the largest count is taken. If one of them is smaller than the present count,
    that one is taken, because the source cannot make more.
    """
    whole = yaml.safe_load(yaml.safe_dump(config))
    counts: dict[str, list[int]] = {}
    for row in advice:
        change = yaml.safe_load(row.change) if row.change else {}
        proposed = change.get("generate", {}).pop("sources", [])
        for source, former in zip(proposed, whole.get("generate", {}).get("sources", []), strict=False):
            if source["count"] != former["count"]:
                counts.setdefault(name_of(source), []).append(source["count"])
        merge_into(whole, change)
    for source in whole.get("generate", {}).get("sources", []):
        others = counts.get(name_of(source), [])
        if others:
            source["count"] = min(others) if min(others) < source["count"] else max(others)
    return yaml.safe_dump(whole, sort_keys=False, allow_unicode=True)


def rows(advice: Sequence[Advice]) -> list[dict[str, str]]:
    """Return the rows of ``audit.json``."""
    return [asdict(row) for row in advice]


def merge_into(whole: Change, change: Change) -> None:
    """Put the options of a change into a config, section by section."""
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(whole.get(key), dict):
            merge_into(whole[key], value)
        else:
            whole[key] = value


def _advice(finding: Finding, evidence: Evidence, config: Change) -> Advice:
    entry = ENTRIES.get(finding.check)
    source = _source_of(finding, evidence)
    if finding.verdict == Verdict.NOT_RUN or entry is None:
        remedy = entry.remedy(evidence) if entry else ""
        return Advice(finding.check, source, remedy or f"it did not run: {finding.why}")
    if isinstance(entry.mend, str):
        return Advice(finding.check, source, entry.mend.replace("{of}", f" of the source {source}" if source else ""))
    why, change = entry.mend(Trouble(finding, source, evidence, config))
    return Advice(finding.check, source, why, yaml.safe_dump(change, sort_keys=False, allow_unicode=True) if change else "")


def _source_of(finding: Finding, evidence: Evidence) -> str:
    """Return the source of most of the structures that a finding names; empty where it names none."""
    if not finding.worst or finding.verdict == Verdict.NOT_RUN:
        return ""
    names = dict(zip(evidence.stats.ids, evidence.stats.sources, strict=True))
    names |= {r.id: r.source for r in evidence.dataset.refused if r.id}
    found = Counter(names[name] for name in finding.worst if name in names)
    return found.most_common(1)[0][0] if found else ""
