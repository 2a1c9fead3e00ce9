"""What would mend a NO-GO: one sentence, and the change of the config that does it.

Enters the findings with the evidence behind them, leaves rows for ``audit.json`` and, for a run, a whole config that
``potstill check`` accepts. Faults of labels, files and programs have no such change, and the advice says what to do instead.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import yaml

from potstill.audit.evidence import Evidence
from potstill.audit.process import asked_of
from potstill.core.verdict import Finding, Verdict

MARGIN = 1.05  # of a limit that has to be met with a little to spare


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do about one finding.

    Parameters
    ----------
    check, source
        The finding, and the source behind it; empty where it is not of one.
    why
        What is wrong and what would mend it.
    change
        YAML of the sections of a config that change; empty where no config mends it.
    """

    check: str
    source: str
    why: str
    change: str = ""


Change = dict[str, Any]


def advise(findings: Sequence[Finding], evidence: Evidence) -> list[Advice]:
    """Advice for each finding that is NO_GO or NOT_RUN, in their order."""
    config = config_of(evidence)
    bad = [f for f in findings if f.verdict in (Verdict.NO_GO, Verdict.NOT_RUN)]
    return [_advice(finding, evidence, config) for finding in bad]


def mended(config: Change, advice: Sequence[Advice]) -> str:
    """The whole config with every change in it, as YAML; of several counts for one source the largest."""
    whole = yaml.safe_load(yaml.safe_dump(config))
    counts: dict[str, int] = {}
    for row in advice:
        change = yaml.safe_load(row.change) if row.change else {}
        proposed = change.get("generate", {}).pop("sources", [])
        for source, former in zip(proposed, whole.get("generate", {}).get("sources", []), strict=False):
            if source["count"] != former["count"]:
                counts[_name(source)] = max(source["count"], counts.get(_name(source), 0))
        merge_into(whole, change)
    for source in whole.get("generate", {}).get("sources", []):
        source["count"] = counts.get(_name(source), source["count"])
    return yaml.safe_dump(whole, sort_keys=False, allow_unicode=True)


def rows(advice: Sequence[Advice]) -> list[dict[str, str]]:
    """As ``audit.json`` has them."""
    return [asdict(row) for row in advice]


def config_of(evidence: Evidence) -> Change:
    """Config written into the file; empty where there is none."""
    try:
        config = yaml.safe_load(evidence.dataset.attributes.get("config", "") or "{}")
    except yaml.YAMLError:
        return {}
    return config if isinstance(config, dict) else {}


def merge_into(whole: Change, change: Change) -> None:
    """Options of a change put into a config, section by section."""
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(whole.get(key), dict):
            merge_into(whole[key], value)
        else:
            whole[key] = value


def _advice(finding: Finding, evidence: Evidence, config: Change) -> Advice:
    source = _source_of(finding, evidence)
    of = f" of the source {source}" if source else ""
    if finding.verdict == Verdict.NOT_RUN:
        return Advice(finding.check, source, _MISSING.get(finding.check, f"it did not run: {finding.why}"))
    if finding.check in _MENDED_BY:
        why, change = _MENDED_BY[finding.check](_Trouble(finding, source, evidence, config))
        return Advice(
            finding.check, source, why, yaml.safe_dump(change, sort_keys=False, allow_unicode=True) if change else ""
        )
    return Advice(finding.check, source, _BY_HAND.get(finding.check, "look at the structures it names").replace("{of}", of))


def _source_of(finding: Finding, evidence: Evidence) -> str:
    """Source of most of the structures that a finding names."""
    if not finding.worst or finding.verdict == Verdict.NOT_RUN:
        return ""
    names = dict(zip(evidence.stats.ids, evidence.stats.sources, strict=True))
    names |= {r.id: r.source for r in evidence.dataset.refused if r.id}
    found = Counter(names[name] for name in finding.worst if name in names)
    return found.most_common(1)[0][0] if found else ""


@dataclass(frozen=True, slots=True)
class _Trouble:
    """A finding, its source, and what it was found in."""

    finding: Finding
    source: str
    evidence: Evidence
    config: Change


Mend = Callable[[_Trouble], tuple[str, Change]]


def _more_of_the_rare(trouble: _Trouble) -> tuple[str, Change]:
    counts = trouble.evidence.stats.element_counts
    ceiling = math.log2(max(1, len(counts)))
    measured, limit = trouble.finding.measured or 0.0, trouble.finding.limit or 0.0
    if ceiling < limit:
        why = f"{len(counts)} elements allow at most {ceiling:.2f} bits: more elements, or a lower gate"
        return why, {"audit": {"min_element_entropy_bits": round(0.9 * ceiling, 2)}}
    richest = _richest_source(trouble.evidence)
    why = (
        f"{measured:.2f} bits where {len(counts)} elements allow {ceiling:.2f}: balance the candidates, "
        f"and ask for more of {richest}, whose elements are spread best"
    )
    return why, _generate(trouble.config, {"balance": 0.7}, {richest: 1.5})


def _more_elements(trouble: _Trouble) -> tuple[str, Change]:
    from ase.data import chemical_symbols

    allowed = trouble.config.get("generate", {}).get("elements") or []
    have = [chemical_symbols[z] for z in sorted(trouble.evidence.stats.element_counts)]
    if len(set(allowed) - set(have)) >= 1:
        lacking = ", ".join(sorted(set(allowed) - set(have)))
        why = f"no structure has {lacking}, although they may be used: ask for more of {_richest_source(trouble.evidence)}"
        return why, _generate(trouble.config, {}, {_richest_source(trouble.evidence): 2.0})
    wanted = [e for e in _COMMON if e not in have][: max(0, int(trouble.finding.limit or 0) - len(have))]
    why = f"{len(have)} elements are there, {trouble.finding.limit:.0f} are wanted: allow {', '.join(wanted)} too"
    return why, _generate(trouble.config, {"elements": [*have, *wanted]}, {})


def _more_sizes(trouble: _Trouble) -> tuple[str, Change]:
    atoms, stats = trouble.evidence.stats.atoms, trouble.evidence.stats
    means = {name: float(atoms[stats.of_source(name)].mean()) for name in stats.elements}
    far = max(means, key=lambda name: abs(means[name] - float(atoms.mean())))
    mean = float(atoms.mean())
    why = f"sizes are too much alike: ask for more of {far}, with {means[far]:.0f} atoms where the mean is {mean:.0f}"
    return why, _generate(trouble.config, {}, {far: 2.0})


def _higher_door(trouble: _Trouble) -> tuple[str, Change]:
    floor = round(max(0.7, MARGIN * (trouble.finding.limit or 0.0)), 3)
    why = f"structures of {trouble.source or 'a source'} have atoms that almost touch: keep them out in the filter"
    return why, _generate(trouble.config, {"filter": {"min_scaled_distance": floor}}, {})


def _lower_door(trouble: _Trouble) -> tuple[str, Change]:
    why = f"structures of {trouble.source or 'a source'} have more room than the filter should allow: lower its limit"
    limit = round((trouble.finding.limit or 80.0) / MARGIN, 1)
    return why, _generate(trouble.config, {"filter": {"max_volume_per_atom_cubic_angstrom": limit}}, {})


def _refuse_forces(trouble: _Trouble) -> tuple[str, Change]:
    why = f"forces of {trouble.source or 'a source'} are beyond the limit: refuse such labels when they are made"
    return why, {"label": {"max_force_ev_per_angstrom": round((trouble.finding.limit or 50.0) / MARGIN, 2)}}


def _refuse_stresses(trouble: _Trouble) -> tuple[str, Change]:
    why = f"stresses of {trouble.source or 'a source'} are beyond the limit, or in another unit: refuse such labels"
    return why, {"label": {"max_stress_ev_per_cubic_angstrom": trouble.finding.limit or 3.0}}


def _fewer_refusals(trouble: _Trouble) -> tuple[str, Change]:
    refused = [r for r in trouble.evidence.dataset.refused if r.stage == "label"]
    (reason, count), *_ = Counter(r.reason for r in refused).most_common() or [("nothing", 0)]
    why = f"{count} structures were refused as {reason}, most of them from {trouble.source or 'one source'}"
    if reason == "force_limit":
        return f"{why}: keep atoms farther apart in the filter", _generate(
            trouble.config, {"filter": {"min_scaled_distance": 0.85}}, {}
        )
    return f"{why}: ask for fewer of that source", _generate(trouble.config, {}, {trouble.source: 0.5})


def _more_asked(trouble: _Trouble) -> tuple[str, Change]:
    made = Counter(trouble.evidence.stats.sources)
    asked = {name: count for name, count in asked_of(trouble.evidence.dataset).items() if count}
    least = min(asked, key=lambda name: made[name] / asked[name])
    missing = (asked[least] - made[least]) / max(1, sum(asked.values()) - asked[least])
    others = {name: 1.0 + missing for name in asked if name != least}
    why = f"{least} gave {made[least]} of {asked[least]}: ask it for what it can give, and the other sources for the rest"
    return why, _generate(trouble.config, {}, {least: max(1, made[least]) / asked[least], **others}, exact=True)


def _cleaner_gate(option: str, what: str) -> Mend:
    def mend(trouble: _Trouble) -> tuple[str, Change]:
        measured = trouble.finding.measured if trouble.finding.measured is not None else trouble.finding.limit or 0.0
        why = f"{what.replace('{source}', trouble.source or 'a source')}; where it is meant so, change the gate"
        return why, {"audit": {option: type(trouble.finding.limit or 0.0)(round(measured * MARGIN, 4))}}

    return mend


def _generate(config: Change, options: Change, factors: dict[str, float], *, exact: bool = False) -> Change:
    """Section ``generate`` with options, and counts of sources times factors; the list of sources is given whole."""
    change: Change = dict(options)
    sources = config.get("generate", {}).get("sources", [])
    if any(_name(s) in factors for s in sources):
        change["sources"] = [
            {**s, "count": max(1, math.floor(factors.get(_name(s), 1.0) * s["count"] + (0 if exact else 0.5)))}
            for s in sources
        ]
    return {"generate": change} if change else {}


def _name(source: Change) -> str:
    return str(source.get("label") or source.get("source", ""))


def _richest_source(evidence: Evidence) -> str:
    """Source with the largest entropy of elements."""

    def entropy(counts: Counter[int]) -> float:
        total = counts.total()
        return -sum(n / total * math.log2(n / total) for n in counts.values())

    elements = evidence.stats.elements
    return max(elements, key=lambda name: entropy(elements[name]), default="")


_COMMON = ("H", "C", "N", "O", "F", "Na", "Mg", "Al", "Si", "P", "S", "Cl", "K", "Ca", "Ti", "Fe", "Cu", "Zn", "Br", "Ag")
_MENDED_BY: dict[str, Mend] = {
    "element_entropy": _more_of_the_rare,
    "element_coverage": _more_elements,
    "element_support": _more_elements,
    "size_cv": _more_sizes,
    "distances": _higher_door,
    "volume": _lower_door,
    "force_limits": _refuse_forces,
    "stress_limits": _refuse_stresses,
    "teacher_success": _fewer_refusals,
    "shares": _more_asked,
    "vacuum": _cleaner_gate("max_vacuum_angstrom", "structures of {source} are called periodic across a vacuum"),
    "cell_shape": _cleaner_gate("max_cell_ratio", "cells of {source} are flat: reduce them (Niggli)"),
    "packing": _cleaner_gate("max_packing", "cells of {source} are compressed"),
}
_BY_HAND = {
    "duplicates": "leave out the copies{of} with  potstill dataset subset  and its list of ids",
    "near_duplicates": "leave out the copies{of}; the filter of a run of its own keeps them out",
    "near_leakage": "leave out the copies on one side of the split",
    "hydrogens": "molecules{of} were read without their hydrogens: add them, with coordinates, and label again",
    "valences": "molecules{of} have atoms with too many bonds: look at how they were read or made",
    "fragments": "molecules{of} fell apart: smaller displacements, or leave them out",
    "composition": "molecules{of} are not what their SMILES say: look at how they were read",
    "charge_balance": "leave out the ions{of}, or use a teacher that takes charges",
    "elements_per_source": "a reader misread an element{of}: such a source cannot make it",
    "finite": "leave out the structures{of} that hold NaN or infinity, and look for the cause in the teacher",
    "stress_symmetry": "stresses{of} were put together in a wrong order",
    "missing_stress": "label the structures{of} without stress again",
    "energy_outliers": "label the structures named again, and compare",
    "net_force": "forces{of} do not sum to zero: wrong rows, or a teacher that predicts forces directly",
    "net_torque": "forces{of} turn a molecule: wrong rows, moved atoms, or a teacher that predicts forces directly",
    "precision": "forces{of} were rounded to 16 bits: export or label them again in 32",
    "repeated_labels": "structures{of} share the labels of another: label them again",
    "energy_work": "energies{of} do not fit the forces on the way to a near sibling: label them again",
    "energy_work_slope": "energies or forces are in another unit or of another sign than eV and eV/Å",
    "label_replay": "labels were not made by this teacher as it is now: label again, or name the teacher that made them",
    "gradients": "forces or stresses are not the slope of the energy: a sign or unit in the teacher's adapter, most likely",
    "conservative_forces": "no student with an energy can learn that part: take a conservative teacher where it is too much",
    "teacher_fingerprint": "label everything with one teacher",
    "split_leakage": "split by family again: potstill dataset merge does",
    "throughput": "label in larger batches, with more workers or a faster device",
    "structural_entropy": "surroundings are too much alike: other sources, larger displacements, fewer frames of a run",
    "integrity": "the file is damaged: copy it again, or merge the parts again",
    "schema": "give each structure an id of its own, a source and a family",
}
_MISSING = {
    "label_replay": "name the teacher that made the labels:  potstill audit FILE --teacher NAME",
    "gradients": "name the teacher that made the labels:  potstill audit FILE --teacher NAME",
    "conservative_forces": "name the teacher that made the labels:  potstill audit FILE --teacher NAME",
    "teacher_fingerprint": "label with potstill, which records the teacher, its version, weights and precision",
    "split_leakage": "split by family:  potstill dataset merge  writes a split",
    "near_leakage": "split by family:  potstill dataset merge  writes a split",
    "throughput": "the file does not say how long labelling took; potstill label records it",
    "shares": "only the file of a run says how many structures were asked for",
    "elements_per_source": "only the file of a run says which elements its sources may use",
}
