"""Process: structures requested, made, labelled and refused, and the labelling rate."""

from __future__ import annotations

import json
import math
from collections import Counter

from potstill.audit import mend
from potstill.audit.asked import asked_of, mix_of
from potstill.audit.evidence import Evidence
from potstill.audit.needs import CONFIG, RECORD, TIME
from potstill.audit.registry import check
from potstill.core.counts import several
from potstill.core.types import Refused
from potstill.core.verdict import Finding, at_least, at_most, not_run, warned
from potstill.label.stage import BEYOND_LIMITS

REASONS_NAMED = 4
LONGEST_DETAIL = 120  # of what a teacher says


@check("process", unit="fraction", needs=(RECORD,), gates=("min_teacher_success",), mend=mend.fewer_refusals)
def teacher_success(evidence: Evidence) -> Finding:
    """Measure the share of structures that the teacher could label, with its 95 % confidence interval (Wilson 1927).

    Labels beyond the limits of force and stress count as labels here: the teacher gave them. See ``within_limits``.
    """
    limits, failures = _refused_labels(evidence)
    answered = _labelled(evidence) + len(limits)
    why = _share(answered, answered + len(failures), failures)
    if limits:
        why += f"; {len(limits)} more were beyond the limits of force and stress, see within_limits"
    share = answered / (answered + len(failures)) if answered else 0.0
    limit = evidence.gates.min_teacher_success
    return at_least("teacher_success", share, limit, "fraction", why, [r.id for r in failures])


@check("process", unit="fraction", needs=(RECORD,), gates=("min_within_limits",), mend=mend.fewer_violent)
def within_limits(evidence: Evidence) -> Finding:
    """Measure the share of the teacher's labels that are within the limits of force and stress of section ``label``."""
    limits, _ = _refused_labels(evidence)
    kept = _labelled(evidence)
    given = kept + len(limits)
    why = _share(kept, given, limits)
    limit = evidence.gates.min_within_limits
    return at_least("within_limits", kept / given if given else 0.0, limit, "fraction", why, [r.id for r in limits])


@check(
    "process",
    unit="structures/hour",
    needs=(TIME,),
    gates=("min_structures_per_hour",),
    mend="label in larger batches, with more workers or a faster device",
)
def throughput(evidence: Evidence) -> Finding:
    """Measure the structures labelled per hour of wall time."""
    seconds = evidence.dataset.attributes["label_seconds"]
    rate = 3600.0 * len(evidence.dataset) / float(seconds)
    workers = several(int(evidence.dataset.attributes["workers"]), "worker")
    why = f"{several(len(evidence.dataset), 'structure')} in {float(seconds):.0f} s on {workers}"
    return at_least("throughput", rate, evidence.gates.min_structures_per_hour, "structures/hour", why)


@check(
    "process",
    unit="fraction",
    needs=(RECORD,),
    gates=("max_refused_fraction",),
    mend="check the refusals by reason:  potstill status RUN",
)
def refusals(evidence: Evidence) -> Finding:
    """Find the largest share of a source's candidates that was refused before labelling. The check only warns."""
    made = Counter(evidence.stats.sources)
    refused: dict[str, Counter[str]] = {}
    for r in evidence.dataset.refused:
        refused.setdefault(r.source, Counter())[r.reason] += 1
    shares = {name: reasons.total() / (reasons.total() + made[name]) for name, reasons in refused.items()}
    worst = max(shares, key=lambda name: shares[name], default="")
    why = "nothing was refused"
    if worst:
        named = ", ".join(f"{n} {reason}" for reason, n in refused[worst].most_common(REASONS_NAMED))
        why = f"of the candidates of {worst}, {named}"
    limit = evidence.gates.max_refused_fraction
    return warned(at_most("refusals", shares.get(worst, 0.0), limit, "fraction", why))


@check("process", unit="fraction", needs=(CONFIG,), gates=("min_share_of_asked",), mend=mend.what_sources_can_give)
def shares(evidence: Evidence) -> Finding:
    """Find the source with the smallest share of the structures requested."""
    mix, asked = mix_of(evidence.dataset), asked_of(evidence.dataset)
    if not asked:
        return not_run("shares", "fraction", "the file does not state how many structures its sources were to make")
    left = json.loads(evidence.dataset.attributes.get("not_selected") or "{}")
    made = Counter(evidence.stats.sources) + Counter(left)
    got = {name: made[name] / count for name, count in asked.items() if count}
    what = "labelled, or not selected for it," if left else "labelled"
    why = f"{what} of asked: " + ", ".join(f"{name} {made[name]} of {asked[name]}" for name in got)
    why += "; asked of the mix that was taken, see stand_ins" if mix and mix.failed else ""
    return at_least("shares", min(got.values()), evidence.gates.min_share_of_asked, "fraction", why)


@check("process", unit="sources", needs=(CONFIG,), mend="install the missing sources; see the commands of:  potstill doctor")
def stand_ins(evidence: Evidence) -> Finding:
    """Count sources of the config that others replaced. The check only warns: the user has agreed."""
    mix = mix_of(evidence.dataset)
    why = mix.sentence() if mix and mix.failed else "every source of the config was used"
    return warned(at_most("stand_ins", len(mix.failed) if mix else 0, 0, "sources", why))


def _labelled(evidence: Evidence) -> int:
    return len(evidence.dataset) if evidence.dataset.labelled else 0


def _refused_labels(evidence: Evidence) -> tuple[list[Refused], list[Refused]]:
    """Return the refusals of labels beyond the limits of force and stress, and all other refusals of the stage ``label``."""
    refused = [r for r in evidence.dataset.refused if r.stage == "label"]
    return [r for r in refused if r.reason in BEYOND_LIMITS], [r for r in refused if r.reason not in BEYOND_LIMITS]


def _share(kept: int, asked: int, refused: list[Refused]) -> str:
    low, high = wilson_interval(kept, asked)
    reasons = ", ".join(f"{n} {reason}" for reason, n in Counter(r.reason for r in refused).most_common()) or "none refused"
    said = next((r.detail for r in refused if r.detail), "").partition("\n")[0][:LONGEST_DETAIL]
    such = f", such as: {said}" if said else ""
    return f"{kept} of {asked} labelled, 95 % interval {100 * low:.1f} to {100 * high:.1f} %; {reasons}{such}"


def wilson_interval(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """Return the confidence interval of a rate (Wilson, J. Am. Stat. Assoc. 22, 209 (1927)).

    >>> low, high = wilson_interval(14, 14)
    >>> f"{low:.2f} {high:.2f}"
    '0.78 1.00'
    """
    if trials == 0:
        return 0.0, 1.0
    rate = successes / trials
    centre = rate + z * z / (2 * trials)
    half = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)
