"""Integrity: the file is unchanged since it was written, and its rows can be identified."""

from __future__ import annotations

import json
from collections import Counter

from potstill.audit.evidence import Evidence
from potstill.audit.registry import check
from potstill.core.verdict import Finding, at_most


@check(
    "integrity",
    unit="faults",
    mend="copy the file again, or merge the parts again; if you edited it: potstill dataset subset FILE NEW.h5",
)
def integrity(evidence: Evidence) -> Finding:
    """Compare every block of the file with its checksum."""
    faults = evidence.dataset.verify()
    why = "; ".join(faults) if faults else "every block has the checksum that was written with it"
    return at_most("integrity", len(faults), 0, "faults", why)


@check("integrity", unit="faults", mend="give each structure an id of its own, a source and a family")
def schema(evidence: Evidence) -> Finding:
    """Check that each structure has a unique id, a source, a family, real elements, and metadata as JSON."""
    stats = evidence.stats
    seen = Counter(stats.ids)
    numbers = evidence.dataset.column("atoms/atomic_numbers")
    impossible = int(((numbers < 1) | (numbers > 118)).sum())
    faults = {
        "ids that are not unique": [name for name in stats.ids if not name or seen[name] > 1],
        "without a source": [name for name, source in zip(stats.ids, stats.sources, strict=True) if not source],
        "without a family": [name for name, family in zip(stats.ids, stats.families, strict=True) if not family],
        "metadata that are no JSON object": [
            name
            for name, text in zip(stats.ids, evidence.dataset.text("structures/generator_metadata"), strict=True)
            if not _is_object(text)
        ],
    }
    bad = [name for names in faults.values() for name in names]
    said = ", ".join(f"{len(names)} {what}" for what, names in faults.items() if names)
    why = said or "ids, sources, families, elements and metadata are well formed"
    if impossible:
        why += f"; {impossible} atoms of no element"
    return at_most("schema", len(bad) + impossible, 0, "faults", why, bad)


def _is_object(text: str) -> bool:
    if text == "{}":
        return True
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
