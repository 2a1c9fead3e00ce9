"""Changes of a config that would fix a NO_GO, each tested by arithmetic on the data.

Takes a finding with its evidence and returns a sentence and the options to change. A change that falls short by the same
figures is not proposed. For a file without a run, only limits can change.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from potstill.audit.asked import asked_of, name_of
from potstill.audit.evidence import Evidence
from potstill.core.elements import symbols_of
from potstill.core.errors import PotstillError
from potstill.core.verdict import Finding
from potstill.label.stage import BEYOND_LIMITS

MARGIN = 1.05  # factor by which a proposed limit exceeds the figure
FACTORS = (1.5, 2.0, 3.0, 5.0, 10.0)  # factors on the count of one source
BALANCE = 0.7
COMMON = ("H", "C", "N", "O", "F", "Na", "Mg", "Al", "Si", "P", "S", "Cl", "K", "Ca", "Ti", "Fe", "Cu", "Zn", "Br", "Ag")

Change = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trouble:
    """A finding, the source behind it, and its evidence.

    Parameters
    ----------
    finding
        Finding with the verdict NO_GO.
    source
        Source of most structures that the finding names; empty where there is none.
    evidence
        Evidence of the check.
    config
        Config in the file; empty where there is none.
    """

    finding: Finding
    source: str
    evidence: Evidence
    config: Change

    @property
    def measured(self) -> float:
        """Return the figure; 0 where it is not finite."""
        return self.finding.measured or 0.0

    @property
    def limit(self) -> float:
        """Return the limit."""
        return self.finding.limit or 0.0

    @property
    def where(self) -> str:
        """Return the source in words."""
        return self.source or "a source"


Mend = Callable[[Trouble], tuple[str, Change]]


def more_of_the_rare(trouble: Trouble) -> tuple[str, Change]:
    """Propose more structures of one source where that gives enough entropy of the elements, else a lower limit."""
    counts = trouble.evidence.stats.element_counts
    ceiling = math.log2(max(1, len(counts)))
    allow = f"{trouble.measured:.2f} bits where {len(counts)} elements allow {ceiling:.2f}"
    elements = trouble.evidence.stats.elements

    def entropy(source: str, factor: float) -> float:
        grown = sum((_times(c, factor if name == source else 1.0) for name, c in elements.items()), Counter[int]())
        return _entropy(grown)

    if (best := _best_factor(trouble, entropy)) is not None:
        source, factor = best
        why = f"{allow}: balance the candidates, and request {factor:g} times as many of {source}"
        return why, _generate(trouble.config, {"balance": BALANCE}, {source: factor})
    why = f"{allow}: add elements in similar amounts, or lower the gate"
    return why, _lower_gate("min_element_entropy_bits", trouble)


def more_elements(trouble: Trouble) -> tuple[str, Change]:
    """Propose further elements that the teacher supports, or a lower limit for data that need only these.

    Data that have less than half of the elements that the limit asks for are of one material.
    """
    have = symbols_of(sorted(trouble.evidence.stats.element_counts))
    allowed = list(trouble.config.get("generate", {}).get("elements") or have)
    wanted = math.ceil(trouble.limit)
    lacking = sorted(set(allowed) - set(have))
    richest = _richest_source(trouble.evidence, _growable(trouble.config))
    if lacking and len({*allowed, *have}) >= wanted and richest:
        why = f"no structure has {', '.join(lacking)}, although they are allowed: request more of {richest}"
        return why, _generate(trouble.config, {}, {richest: 2.0})
    known = _known_elements(trouble.evidence)
    further = [e for e in COMMON if e not in {*have, *allowed} and (known is None or e in known)]
    missing = wanted - len({*have, *allowed})
    if trouble.evidence.of_run and trouble.config and missing <= min(len(have), len(further)):
        why = f"{len(have)} elements are present, {wanted} are required: allow {', '.join(further[:missing])} too"
        return why, _generate(trouble.config, {"elements": [*dict.fromkeys([*allowed, *have]), *further[:missing]]}, {})
    why = f"{len(have)} elements are present, {wanted} are required; if the data need only these, change the gate"
    return why, {"audit": {"min_element_coverage": len(have)}}


def more_of_the_rarest(trouble: Trouble) -> tuple[str, Change]:
    """Propose more structures of the source with the rarest element, or a lower limit."""
    holding = trouble.source if trouble.measured else ""
    if trouble.evidence.of_run and holding in _growable(trouble.config):
        factor = MARGIN * trouble.limit / trouble.measured
        why = (
            f"{trouble.measured:.0f} structures contain the rarest element: request {factor:.1f} times as many of {holding}"
        )
        return why, _generate(trouble.config, {}, {holding: factor})
    why = "leave out the structures with the rarest element, or add others with it; if this is intended, change the gate"
    return why, {"audit": {"min_structures_per_element": max(1, int(trouble.measured))}}


def more_sizes(trouble: Trouble) -> tuple[str, Change]:
    """Propose more structures of one source where that spreads the sizes enough, else a lower limit."""
    atoms, stats = trouble.evidence.stats.atoms.astype(float), trouble.evidence.stats

    def spread(source: str, factor: float) -> float:
        weight = np.ones(len(atoms))
        weight[stats.of_source(source)] = factor
        mean = float(np.average(atoms, weights=weight))
        return math.sqrt(float(np.average((atoms - mean) ** 2, weights=weight))) / mean

    if (best := _best_factor(trouble, spread)) is not None:
        source, factor = best
        size = float(atoms[stats.of_source(source)].mean())
        why = f"sizes are too similar: request {factor:g} times as many of {source}, with {size:.0f} atoms"
        return f"{why} where the mean is {atoms.mean():.0f}", _generate(trouble.config, {}, {source: factor})
    why = "sizes are too similar, and no present source would change that; if this is intended, change the gate"
    return why, _lower_gate("min_size_cv", trouble)


def higher_filter(trouble: Trouble) -> tuple[str, Change]:
    """Propose a larger smallest distance of the geometry filter."""
    if not trouble.evidence.of_run:
        return "leave out the structures with too short distances; the finding names the worst", {}
    floor = round(max(0.7, MARGIN * trouble.limit), 3)
    why = f"structures of {trouble.where} have too short distances: refuse them in the geometry filter"
    return why, _generate(trouble.config, {"filter": {"min_scaled_distance": floor}}, {})


def lower_filter(trouble: Trouble) -> tuple[str, Change]:
    """Propose a smaller largest volume of the geometry filter."""
    if not trouble.evidence.of_run:
        return cleaner_gate("max_volume_per_atom_cubic_angstrom", "cells of {source} have too much volume per atom")(trouble)
    why = f"structures of {trouble.where} have too much volume per atom: lower the limit of the geometry filter"
    limit = round((trouble.limit or 80.0) / MARGIN, 1)
    return why, _generate(trouble.config, {"filter": {"max_volume_per_atom_cubic_angstrom": limit}}, {})


def refuse_forces(trouble: Trouble) -> tuple[str, Change]:
    """Propose to refuse such labels when they are made, as far as enough labels remain."""
    own = trouble.evidence.gates.max_force_per_source.get(trouble.source)
    values = trouble.evidence.stats.largest_force
    why = f"forces of {trouble.where} are beyond the limit"
    limit = round((own or trouble.limit or 50.0) / MARGIN, 2)
    return _refuse(trouble, why, "max_force_ev_per_angstrom", limit, values)


def refuse_stresses(trouble: Trouble) -> tuple[str, Change]:
    """Propose to refuse such labels when they are made, as far as enough labels remain."""
    own = trouble.evidence.gates.max_stress_per_source.get(trouble.source)
    values = trouble.evidence.stats.largest_stress
    why = f"stresses of {trouble.where} are beyond the limit, or in another unit"
    return _refuse(trouble, why, "max_stress_ev_per_cubic_angstrom", own or trouble.limit or 3.0, values)


def fewer_violent(trouble: Trouble) -> tuple[str, Change]:
    """Propose a larger smallest distance, or fewer structures of the source whose labels are beyond the limits."""
    return _refused_as(trouble, BEYOND_LIMITS)


def fewer_refusals(trouble: Trouble) -> tuple[str, Change]:
    """Propose fewer structures of the source that the teacher refuses, where the others then meet the limit."""
    reasons = {r.reason for r in trouble.evidence.dataset.refused if r.stage == "label"}
    return _refused_as(trouble, reasons - set(BEYOND_LIMITS) or reasons)


def _refused_as(trouble: Trouble, asked: Collection[str]) -> tuple[str, Change]:
    refused = [r for r in trouble.evidence.dataset.refused if r.stage == "label" and r.reason in asked]
    reasons = Counter(r.reason for r in refused).most_common()
    if not reasons:
        return "nothing was labelled and nothing refused: the run requested no structure", {}
    reason, count = reasons[0]
    detail = next((r.detail for r in refused if r.reason == reason and r.detail), "")
    why = f"{count} structures were refused as {reason}, most of them from {trouble.where}"
    if reason in BEYOND_LIMITS and not len(trouble.evidence.stats):
        return f"{why}: no label is within the limits, as of a teacher in other units than eV, eV/Å and eV/Å^3: {detail}", {}
    if reason == "force_limit":
        return f"{why}: raise the smallest distance of the geometry filter", _generate(
            trouble.config, {"filter": {"min_scaled_distance": 0.85}}, {}
        )
    factor = _factor_of_refused(trouble, Counter(r.source for r in refused))
    if factor is None:
        return f"{why}: check the teacher" + (f", which reports: {detail}" if detail else ""), {}
    return f"{why}: request {factor:.0%} of that source", _generate(trouble.config, {}, {trouble.source: factor}, exact=True)


def what_sources_can_give(trouble: Trouble) -> tuple[str, Change]:
    """Propose to request of each source the number that it made, and of the others the rest."""
    made = Counter(trouble.evidence.stats.sources)
    asked = {name: count for name, count in asked_of(trouble.evidence.dataset).items() if count}
    short = {name: made[name] for name, count in asked.items() if made[name] / count < trouble.limit}
    told = ", ".join(f"{name} made {made[name]} of {asked[name]}" for name in short)
    if not all(short.values()) or len(short) == len(asked):
        return f"{told}: fix these sources or leave them out; their refusals state the reasons", {}
    missing = sum(asked[name] - made[name] for name in short)
    growing = {name: count for name, count in asked.items() if name not in short and name in _growable(trouble.config)}
    more = 1.0 + missing / max(1, sum(growing.values()))
    factors = {name: short[name] / asked[name] if name in short else more if name in growing else 1.0 for name in asked}
    why = f"{told}: request these numbers, and the rest from the other sources"
    return why, _generate(trouble.config, {}, factors, exact=True)


def cleaner_gate(option: str, what: str) -> Mend:
    """Return a function that proposes another limit, because only the user can decide whether the data are right."""

    def mend(trouble: Trouble) -> tuple[str, Change]:
        measured = trouble.finding.measured if trouble.finding.measured is not None else trouble.limit
        why = f"{what.replace('{source}', trouble.where)}; if this is intended, change the gate"
        return why, {"audit": {option: type(trouble.finding.limit or 0.0)(_rounded_up(measured * MARGIN))}}

    return mend


def _refuse(trouble: Trouble, why: str, option: str, limit: float, values: Any) -> tuple[str, Change]:
    """Return a change of section ``label``, or of the audit's limit where too few labels would remain or no run exists."""
    gates, other_size = trouble.evidence.gates, trouble.evidence.kept.get("other_size")
    if other_size is not None:
        return f"{why}, and {other_size}: convert the labels to eV, eV/Å and eV/Å^3", {}
    with np.errstate(invalid="ignore"):
        kept = 1.0 - float((values > limit).mean())
    if trouble.evidence.of_run and kept >= gates.min_teacher_success:
        return f"{why}: refuse such labels in section 'label'", {"label": {option: limit}}
    if not math.isfinite(trouble.measured) or not trouble.measured:
        return f"{why}: check the teacher", {}
    why += "; leave these structures out" if not trouble.evidence.of_run else f"; a limit at labelling would keep {kept:.0%}"
    per_source = trouble.source and option.replace("ev_per_angstrom", "per_source").replace(
        "ev_per_cubic_angstrom", "per_source"
    )
    own: dict[str, float] = getattr(gates, per_source, {}) if per_source else {}
    if trouble.source in own:
        largest = float(np.nanmax(values[trouble.evidence.stats.of_source(trouble.source)]))
        return f"{why}, or change the gate", {"audit": {per_source: {**own, trouble.source: _rounded_up(MARGIN * largest)}}}
    return f"{why}, or change the gate", {"audit": {option: _rounded_up(MARGIN * trouble.measured)}}


def _factor_of_refused(trouble: Trouble, refused: Counter[str]) -> float | None:
    """Return the share of a source at which the whole meets the limit; None where no share does or no source is left."""
    made = Counter(trouble.evidence.stats.sources)
    name = trouble.source
    labelled, asked = made.total() - made[name], made.total() + refused.total() - made[name] - refused[name]
    room = labelled - trouble.limit * asked
    lost = trouble.limit * (made[name] + refused[name]) - made[name]
    if name not in _asked(trouble.config) or room <= 0 or lost <= 0:
        return None
    return min(1.0, room / lost / MARGIN)


def _best_factor(trouble: Trouble, figure: Callable[[str, float], float]) -> tuple[str, float] | None:
    """Return the smallest factor, with its source, at which a figure meets the limit; None where none does."""
    names = [name for name in trouble.evidence.stats.elements if name in _growable(trouble.config)]
    if not trouble.evidence.of_run or not names:
        return None
    for factor in FACTORS:
        best = max(names, key=lambda name: figure(name, factor))
        if figure(best, factor) >= trouble.limit:
            return best, factor
    return None


def _lower_gate(option: str, trouble: Trouble) -> Change:
    return {"audit": {option: math.floor(1e3 * trouble.measured / MARGIN) / 1e3}}


def _generate(config: Change, options: Change, factors: dict[str, float], *, exact: bool = False) -> Change:
    """Return the section ``generate`` with options, and with all sources, their counts times factors."""
    change: Change = dict(options)
    sources = config.get("generate", {}).get("sources", [])
    if any(name_of(s) in factors for s in sources):
        change["sources"] = [
            {**s, "count": max(1, math.floor(factors.get(name_of(s), 1.0) * s["count"] + (1e-9 if exact else 0.5)))}
            for s in sources
        ]
    return {"generate": change} if change else {}


def _asked(config: Change) -> set[str]:
    return {name_of(source) for source in config.get("generate", {}).get("sources", [])}


def _growable(config: Change) -> set[str]:
    """Return the sources that can make more; the user's own files have what they have."""
    sources = config.get("generate", {}).get("sources", [])
    return {name_of(source) for source in sources if source.get("source") != "files"}


def _known_elements(evidence: Evidence) -> set[str] | None:
    """Return the elements that the teacher supports; None where unknown."""
    try:
        known = evidence.teacher().elements if evidence.teacher else None
    except (PotstillError, AttributeError):
        return None
    return None if known is None else set(symbols_of(sorted(known)))


def _richest_source(evidence: Evidence, names: Collection[str]) -> str:
    """Return the one of some sources with the largest entropy of elements; empty where none of them made any."""
    elements = evidence.stats.elements
    return max((name for name in elements if name in names), key=lambda name: _entropy(elements[name]), default="")


def _entropy(counts: Counter[int]) -> float:
    total = counts.total()
    return -sum(n / total * math.log2(n / total) for n in counts.values()) if total else 0.0


def _times(counts: Counter[int], factor: float) -> Counter[int]:
    return Counter({z: round(factor * n) for z, n in counts.items()})


def _rounded_up(value: float) -> float:
    return math.ceil(value * 1e4) / 1e4
