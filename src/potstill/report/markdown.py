"""The audit as Markdown, ``audit.md``: short enough for a repository, with the same verdicts as the page.

The input is the contents of ``audit.json`` with the dataset and, in a run, its record. The output is one file.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from potstill.audit.asked import asked_by_config, mix_of
from potstill.core.files import sealed
from potstill.core.verdict import word_of
from potstill.dataset import Dataset
from potstill.dataset.checksum import checksum_of
from potstill.generate.mix import Mix
from potstill.report.audit import sentence
from potstill.report.page import figure, readable, worst_first

REASONS_NAMED = 4


def write_audit_markdown(
    report: Mapping[str, Any],
    dataset: Dataset,
    path: Path,
    *,
    record: Mapping[str, Any] | None = None,
) -> None:
    """Write the file ``audit.md``.

    Parameters
    ----------
    report
        Results of :func:`potstill.audit.stage.audit`.
    dataset
        Dataset that the audit judged.
    path
        Path of the file.
    record
        Contents of ``run.json``: machine, versions, times.
    """
    mix = mix_of(dataset)
    parts = [
        f"# Audit of {_text(report.get('dataset', dataset.path.name))}",
        f"**{word_of(report['verdict'])}.** {_text(sentence(report))}",
        _changed(report.get("changed_gates", {})),
        "## Sources",
        _stand_ins(mix),
        _sources(report, dataset, mix),
        "## Teacher and rates",
        _bullets(_teacher(dataset)),
        "## Checks",
        "A check that did not run (NOT RUN) is no pass.",
        _findings(report["findings"]),
        "## Machine and versions" if record else "",
        _bullets(_machine(record)) if record else "",
        f"Written by potstill from `audit.json`; the figures are those of the file with checksums {_checksum(dataset)}.",
    ]
    with sealed(path) as temporary:
        temporary.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8", errors="backslashreplace")


def _changed(gates: Mapping[str, Mapping[str, Any]]) -> str:
    if not gates:
        return "All limits are the defaults."
    rows = [(readable(name), _plain(both["default"]), _plain(both["now"])) for name, both in gates.items()]
    return "Limits that were changed; the verdict holds for them as they are now:\n\n" + _table(
        ("limit", "default", "now"), rows, "lrr"
    )


def _stand_ins(mix: Mix | None) -> str:
    """Return text on sources that are missing and sources that gave more than the config asks for."""
    if mix is None or not mix.failed:
        return ""
    reasons = "; ".join(f"{name} ({why.splitlines()[0].rstrip('.')})" for name, why in mix.failed.items())
    return _text(
        f"This is the contingency mix. What the config asks of the following sources could not be had: {reasons}. "
        "The other sources stood in for them, as the column 'asked after' says."
    )


def _sources(report: Mapping[str, Any], dataset: Dataset, mix: Mix | None) -> str:
    asked = asked_by_config(dataset)
    lost: dict[str, dict[str, Counter[str]]] = {"generate": {}, "label": {}}
    for r in dataset.refused:
        lost.setdefault(r.stage, {}).setdefault(r.source, Counter())[r.reason] += 1
    names = [*asked, *(name for name in report["sources"] if name not in asked)]
    made = {name: report["sources"].get(name, {}).get("structures", 0) for name in names}
    total = max(1, sum(made.values()))
    rows: list[Sequence[str]] = []
    for name in names:
        wanted = [_count(asked.get(name))]
        if mix is not None and mix.failed:
            wanted.append(_count(mix.counts.get(name)))
        filtered, teacher = (lost[stage].get(name, Counter()) for stage in ("generate", "label"))
        share = f"{made[name] / total:.1%}"
        rows.append((_text(name), *wanted, _count(made[name]), share, _reasons(filtered), _reasons(teacher)))
    heads = ["source", "asked", *(["asked after"] if mix is not None and mix.failed else []), "got", "share"]
    sums = [_count(sum(asked.values())) if asked else "–"]
    sums += [_count(sum(mix.counts.values()))] if mix is not None and mix.failed else []
    door_sum, teacher_sum = (sum((c.total() for c in lost[stage].values()), 0) for stage in ("generate", "label"))
    rows.append(("**all**", *sums, _count(sum(made.values())), "", _count(door_sum), _count(teacher_sum)))
    return _table((*heads, "refused by the filter", "refused in labelling"), rows, "l" + "r" * (len(heads) - 1) + "ll")


def _teacher(dataset: Dataset) -> list[tuple[str, str]]:
    attributes = dataset.attributes
    teacher = json.loads(attributes.get("teacher", "{}"))
    facts = [(f"teacher {key}", str(value)) for key, value in sorted(teacher.items())]
    facts = facts or [("teacher", "the file does not say which teacher made its labels")]
    seconds = float(attributes.get("label_seconds") or 0.0)
    if seconds:
        rate = 3600 * len(dataset) / seconds
        workers = attributes.get("workers", "?")
        facts.append(("labelling", f"{seconds:,.0f} s by {workers} workers, {rate:,.0f} structures per hour"))
    return facts


def _findings(findings: Sequence[dict[str, Any]]) -> str:
    rows = [
        (
            readable(f["check"]),
            word_of(f["verdict"]),
            figure(f["measured"]),
            figure(f["limit"]),
            _text(f["unit"]),
            _text(f["why"]),
        )
        for f in worst_first(list(findings))
    ]
    return _table(("check", "verdict", "measured", "limit", "unit", "why"), rows, "llrrll")


def _machine(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    machine = record.get("machine", {})
    versions = ", ".join(f"{name} {version}" for name, version in machine.get("versions", {}).items())
    facts = [
        ("potstill", f"{record.get('potstill', '?')}, commit {record.get('git') or 'unknown'}, seed {record.get('seed')}"),
        ("begun", record.get("created", "")),
        ("machine", f"{machine.get('processor', '?')}, {machine.get('cores', '?')} cores, {machine.get('platform', '?')}"),
        ("versions", f"Python {machine.get('python', '?')}, {versions}"),
    ]
    times = [f"{stage} {entry['seconds']:,.0f} s" for stage, entry in record.get("stages", {}).items() if entry["seconds"]]
    return [*facts, ("times", ", ".join(times))] if times else facts


def _checksum(dataset: Dataset) -> str:
    return f"`{checksum_of(dataset).removeprefix('sha256:')[:16]}`"


def _reasons(reasons: Counter[str]) -> str:
    if not reasons:
        return "0"
    named = ", ".join(f"{readable(reason)} {count:,}" for reason, count in reasons.most_common(REASONS_NAMED))
    more = ", …" if len(reasons) > REASONS_NAMED else ""
    return _text(f"{reasons.total():,} ({named}{more})")


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _plain(value: Any) -> str:
    return figure(value) if value is None or isinstance(value, int | float) else _text(json.dumps(value))


def _bullets(facts: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"- {_text(name)}: {_text(value)}" for name, value in facts)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], align: str) -> str:
    lines = [heads, ["---:" if a == "r" else "---" for a in align], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(value: str) -> str:
    """Return one line of text in which markup is escaped."""
    flat = " ".join(str(value).split())
    for mark, instead in (
        ("&", "&amp;"),
        ("<", "&lt;"),
        (">", "&gt;"),
        ("|", "\\|"),
        ("`", "\\`"),
        ("*", "\\*"),
        ("[", "\\["),
    ):
        flat = flat.replace(mark, instead)
    return flat
