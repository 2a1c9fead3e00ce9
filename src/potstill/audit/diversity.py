"""Diversity of elements, sizes and atomic environments; environments that only one source has."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from potstill.audit import mend
from potstill.audit.asked import generate_section
from potstill.audit.atomic_environments import entropy_bits, novelty, sample_environments
from potstill.audit.evidence import Evidence
from potstill.audit.needs import SOURCES
from potstill.audit.registry import check
from potstill.core.counts import several
from potstill.core.verdict import Finding, Verdict, at_least, warned


@check("diversity", unit="bits", gates=("min_element_entropy_bits",), mend=mend.more_of_the_rare)
def element_entropy(evidence: Evidence) -> Finding:
    """Measure the Shannon entropy of the elements over atoms; its ceiling is log2 of the number of elements."""
    counts = evidence.stats.element_counts
    why = f"{several(len(counts), 'element')} can have at most log2({len(counts)}) = {math.log2(len(counts)):.2f} bits"
    return at_least("element_entropy", evidence.stats.entropy_bits(), evidence.gates.min_element_entropy_bits, "bits", why)


@check("diversity", unit="elements", gates=("min_element_coverage",), mend=mend.more_elements)
def element_coverage(evidence: Evidence) -> Finding:
    """Count the elements; warn of requested ones that no structure has, for the student will not know them."""
    from ase.data import atomic_numbers, chemical_symbols

    counts = evidence.stats.element_counts
    limit = evidence.gates.min_element_coverage
    asked = generate_section(evidence.dataset.attributes).get("elements") or ()
    missing = [symbol for symbol in asked if atomic_numbers.get(symbol) not in counts]
    why = "atoms of each: " + ", ".join(f"{chemical_symbols[z]} {n}" for z, n in sorted(counts.items()))
    if missing:
        why += f"; requested in generate.elements and in no structure: {', '.join(missing)}, which the student will not know"
    found = at_least("element_coverage", len(counts), limit, "elements", why)
    return replace(found, verdict=Verdict.WARN) if missing and found.verdict is Verdict.GO else found


@check("diversity", unit="", gates=("min_size_cv",), mend=mend.more_sizes)
def size_cv(evidence: Evidence) -> Finding:
    """Measure the coefficient of variation of the number of atoms per structure."""
    atoms = evidence.stats.atoms
    means = ", ".join(f"{name} {atoms[evidence.stats.of_source(name)].mean():.1f}" for name in evidence.stats.elements)
    why = f"{atoms.min()} to {atoms.max()} atoms, mean {atoms.mean():.1f}, standard deviation {atoms.std():.1f}"
    return at_least("size_cv", evidence.stats.size_cv(), evidence.gates.min_size_cv, "", f"{why}; mean by source: {means}")


@check(
    "diversity",
    unit="of its ceiling",
    gates=("min_structural_entropy",),
    mend="atomic environments are too similar: add other sources, larger displacements, or fewer frames of one trajectory",
)
def structural_entropy(evidence: Evidence) -> Finding:
    """Measure the entropy of a sample of atomic environments, over its ceiling: 0 if all are equal, 1 if all differ."""
    environments = sample_environments(evidence.dataset, np.arange(len(evidence.stats)), evidence.seed)
    ceiling = math.log2(max(2, len(environments)))
    bits = entropy_bits(environments)
    why = f"{bits:.2f} bits over {len(environments)} atoms, which allow at most {ceiling:.2f}"
    return at_least("structural_entropy", bits / ceiling, evidence.gates.min_structural_entropy, "of its ceiling", why)


@check(
    "diversity",
    unit="fraction",
    needs=(SOURCES,),
    gates=("min_source_novelty",),
    mend="check the source whose atomic environments all occur in other sources",
)
def source_novelty(evidence: Evidence) -> Finding:
    """Find the smallest share of atomic environments that one source alone has. The check only warns: copies are derived."""
    names = list(evidence.stats.elements)
    limit = evidence.gates.min_source_novelty
    drawn = {n: sample_environments(evidence.dataset, evidence.stats.of_source(n), evidence.seed) for n in names}
    shares = {}
    for name in names:
        others = np.concatenate([drawn[other] for other in names if other != name])
        shares[name] = float((novelty(drawn[name], others) > 0).mean()) if len(drawn[name]) else 0.0
    why = "atomic environments that no other source has: " + ", ".join(f"{n} {share:.0%}" for n, share in shares.items())
    return warned(at_least("source_novelty", min(shares.values()), limit, "fraction", why))
