"""The checks: each a small function from the dataset and its statistics to one finding.

A check compares a measured figure with a limit of section ``audit``; it never repairs and never guesses. What cannot be
measured is NOT_RUN, which is not a pass.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from potstill.audit.hydrogens import bonds_lack_hydrogen, fewer_than_smiles
from potstill.dataset import Dataset
from potstill.generate.door import NEAR_DUPLICATE_ANGSTROM
from potstill.stats import Statistics
from potstill.types import Finding, Labels, Structure, Teacher, Verdict

if TYPE_CHECKING:
    from potstill.config import AuditConfig

WORST = 8
MIN_REPLAYED = 8


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a check may look at."""

    dataset: Dataset
    stats: Statistics
    gates: AuditConfig
    teacher: Callable[[], Teacher] | None = None
    seed: int = 0


Check = Callable[[Evidence], Finding]


def at_least(check: str, measured: float, limit: float, unit: str, why: str, worst: Sequence[str] = ()) -> Finding:
    """GO where measured >= limit; a figure that is not finite never passes."""
    return _finding(check, measured >= limit, measured, limit, unit, why, worst)


def at_most(check: str, measured: float, limit: float, unit: str, why: str, worst: Sequence[str] = ()) -> Finding:
    """GO where measured <= limit; a figure that is not finite never passes."""
    return _finding(check, measured <= limit, measured, limit, unit, why, worst)


def _finding(check: str, passed: bool, measured: float, limit: float, unit: str, why: str, worst: Sequence[str]) -> Finding:
    if not math.isfinite(measured):
        return Finding(check, Verdict.NO_GO, None, float(limit), unit, f"not finite; {why}", tuple(worst[:WORST]))
    verdict = Verdict.GO if passed else Verdict.NO_GO
    return Finding(check, verdict, float(measured), float(limit), unit, why, tuple(worst[:WORST]))


def not_run(check: str, unit: str, why: str) -> Finding:
    """A required check that could not run: never a pass."""
    return Finding(check, Verdict.NOT_RUN, None, None, unit, why)


def teacher_success(evidence: Evidence) -> Finding:
    """Labelled structures over those the teacher was asked for, with its 95 % confidence interval (Wilson 1927)."""
    refused = [r for r in evidence.dataset.refused if r.stage == "label"]
    labelled = len(evidence.dataset) if evidence.dataset.labelled else 0
    asked = labelled + len(refused)
    low, high = wilson_interval(labelled, asked)
    reasons = ", ".join(f"{n} {reason}" for reason, n in _count(r.reason for r in refused)) or "none refused"
    why = f"{labelled} of {asked} labelled, 95 % interval {100 * low:.1f} to {100 * high:.1f} %; {reasons}"
    limit = evidence.gates.min_teacher_success
    return at_least("teacher_success", labelled / asked if asked else 0.0, limit, "fraction", why, [r.id for r in refused])


def element_entropy(evidence: Evidence) -> Finding:
    """Shannon entropy of the elements over atoms; its ceiling is log2 of the number of elements."""
    counts = evidence.stats.element_counts
    why = f"{len(counts)} elements allow at most log2({len(counts)}) = {math.log2(len(counts)):.2f} bits"
    return at_least("element_entropy", evidence.stats.entropy_bits(), evidence.gates.min_element_entropy_bits, "bits", why)


def element_coverage(evidence: Evidence) -> Finding:
    """Number of different elements."""
    from ase.data import chemical_symbols

    counts = evidence.stats.element_counts
    why = ", ".join(f"{chemical_symbols[z]} {n}" for z, n in sorted(counts.items()))
    limit = evidence.gates.min_element_coverage
    return at_least("element_coverage", len(counts), limit, "elements", f"atoms of each: {why}")


def size_cv(evidence: Evidence) -> Finding:
    """Coefficient of variation of the number of atoms per structure."""
    atoms = np.array(evidence.stats.atoms)
    why = f"{atoms.min()} to {atoms.max()} atoms, mean {atoms.mean():.1f}, standard deviation {atoms.std():.1f}"
    return at_least("size_cv", evidence.stats.size_cv(), evidence.gates.min_size_cv, "", why)


def duplicates(evidence: Evidence) -> Finding:
    """Structures whose numbers, positions and cell are those of an earlier one, to 1e-4 Å."""
    first: dict[str, str] = {}
    copies = []
    for name, content in zip(evidence.stats.ids, evidence.stats.hashes, strict=True):
        if content in first:
            copies.append(name)
        first.setdefault(content, name)
    why = f"{len(copies)} repeat the atoms of another structure" if copies else "every structure differs from all others"
    return at_most("duplicates", len(copies), evidence.gates.max_duplicates, "structures", why, copies)


def near_duplicates(evidence: Evidence) -> Finding:
    """Structures with the distances of another: seen through rotation, permutation, cell choice and supercell."""
    groups: dict[str, list[int]] = defaultdict(list)
    for k, formula in enumerate(evidence.stats.formulas):
        groups[formula].append(k)
    copies = []
    for members in groups.values():
        rows = np.stack([evidence.stats.fingerprints[k] for k in members])
        for position in range(1, len(members)):
            gap = np.abs(rows[:position] - rows[position]).max(axis=1)
            if gap.min() < NEAR_DUPLICATE_ANGSTROM:
                copies.append(evidence.stats.ids[members[position]])
    why = f"average neighbour distances within {NEAR_DUPLICATE_ANGSTROM} Å of another structure of that composition"
    return at_most("near_duplicates", len(copies), evidence.gates.max_near_duplicates, "structures", why, copies)


def distances(evidence: Evidence) -> Finding:
    """Smallest distance over the sum of covalent radii, per structure, periodic images included."""
    scaled = np.array(evidence.stats.scaled_distance)
    order = np.argsort(scaled)
    limit = evidence.gates.min_scaled_distance
    too_close = int((scaled < limit).sum())
    why = f"{too_close} structures have atoms closer than {limit} of the sum of their covalent radii"
    worst = [evidence.stats.ids[k] for k in order[:WORST]]
    return at_least("distances", float(scaled.min()), limit, "of radii sum", why, worst)


def hydrogens(evidence: Evidence) -> Finding:
    """Share of molecules that lack hydrogens, judged from SMILES where known and from bond lengths everywhere.

    Bond lengths are judged over all geometries of one family and composition, because displacements stretch them. Two atoms
    of the source ``dimers`` are no molecule, and their metadata says so.
    """
    molecules = [s for s in evidence.dataset if not s.pbc.any() and "atom_pair" not in s.generator_metadata]
    accused: dict[tuple[str, str], bool] = {}
    for s in molecules:
        kind = (s.family, s.formula)
        accused[kind] = accused.get(kind, True) and bonds_lack_hydrogen(s)
    lacking = [s.id for s in molecules if fewer_than_smiles(s) or accused[s.family, s.formula]]
    if not molecules:
        why = "there are no molecules"
        return at_most("hydrogens", 0.0, evidence.gates.max_hydrogen_deficit, "fraction", why)
    why = f"{len(lacking)} of {len(molecules)} molecules have fewer hydrogens than their valences ask for"
    limit = evidence.gates.max_hydrogen_deficit
    return at_most("hydrogens", len(lacking) / len(molecules), limit, "fraction", why, lacking)


def finite(evidence: Evidence) -> Finding:
    """Every stored number is finite."""
    bad = np.zeros(len(evidence.dataset), bool)
    ptr = evidence.dataset.ptr
    for path in ("atoms/positions", "atoms/forces"):
        rows = ~np.isfinite(evidence.dataset.column(path)).all(axis=1)
        bad |= np.logical_or.reduceat(rows, ptr[:-1])
    for path in ("structures/cell", "structures/energy", "structures/stress"):
        bad |= ~np.isfinite(evidence.dataset.column(path)).reshape(len(bad), -1).all(axis=1)
    worst = [evidence.stats.ids[k] for k in np.flatnonzero(bad)]
    why = "energies, forces, stresses, positions and cells" + (" hold NaN or infinity" if bad.any() else " are finite")
    return at_most("finite", int(bad.sum()), 0, "structures", why, worst)


def force_limits(evidence: Evidence) -> Finding:
    """Largest force on any atom."""
    largest = np.array(evidence.stats.largest_force)
    order = np.argsort(-np.nan_to_num(largest, nan=np.inf))
    per_source = ", ".join(f"{name} {largest[evidence.stats.of_source(name)].max():.1f}" for name in evidence.stats.elements)
    worst = [evidence.stats.ids[k] for k in order[:WORST]]
    limit = evidence.gates.max_force_ev_per_angstrom
    return at_most("force_limits", float(largest.max()), limit, "eV/Å", f"largest by source: {per_source}", worst)


def label_replay(evidence: Evidence) -> Finding:
    """A random share of the structures labelled once more by the recorded teacher: forces must come out the same."""
    if evidence.teacher is None:
        return not_run("label_replay", "eV/Å", "no teacher was given; name the one that made the labels")
    stored = evidence.dataset
    wanted = max(MIN_REPLAYED, math.ceil(evidence.gates.replay_fraction * len(stored)))
    chosen = np.random.default_rng(evidence.seed).choice(len(stored), min(wanted, len(stored)), replace=False)
    structures = [stored[int(k)] for k in np.sort(chosen)]
    answers = evidence.teacher().label(structures)
    gaps = [_label_gap(s, a if isinstance(a, Labels) else None) for s, a in zip(structures, answers, strict=True)]
    order = np.argsort(gaps)[::-1]
    why = f"{len(structures)} structures labelled again: largest difference of energy per atom, force or stress"
    limit = evidence.gates.max_replay_force_ev_per_angstrom
    return at_most("label_replay", np.max(gaps), limit, "eV/Å", why, [structures[k].id for k in order])


def split_leakage(evidence: Evidence) -> Finding:
    """Families that stand on more than one side of the split."""
    try:
        parts = {name: evidence.dataset.split(name) for name in ("train", "valid", "test")}
    except Exception as error:  # noqa: BLE001 - a file without a split is the finding
        return not_run("split_leakage", "families", str(error))
    families = np.array(evidence.stats.families)
    sides = [set(families[rows]) for rows in parts.values()]
    leaked = sorted((sides[0] & sides[1]) | (sides[0] & sides[2]) | (sides[1] & sides[2]))
    why = "structures: " + ", ".join(f"{name} {len(rows)}" for name, rows in parts.items())
    worst = [evidence.stats.ids[int(np.flatnonzero(families == family)[0])] for family in leaked]
    return at_most("split_leakage", len(leaked), 0, "families", why, worst)


def teacher_fingerprint(evidence: Evidence) -> Finding:
    """One teacher with known weights made all labels, and it is the one at hand."""
    recorded = json.loads(evidence.dataset.attributes.get("teacher", "{}"))
    complete = all(recorded.get(key) for key in ("name", "version", "weights", "dtype"))
    if not complete:
        return not_run("teacher_fingerprint", "teachers", "the file does not say which teacher made its labels")
    others = 0
    if evidence.teacher is not None and dict(evidence.teacher().fingerprint) != recorded:
        others = 1
    why = f"{recorded['name']}, {recorded['version']}, weights {recorded['weights'][:23]}…, {recorded['dtype']}"
    if others:
        why = f"labels were made by another teacher than the one at hand: {why}"
    return at_most("teacher_fingerprint", others, 0, "other teachers", why)


def throughput(evidence: Evidence) -> Finding:
    """Structures labelled per hour of wall time."""
    seconds = evidence.dataset.attributes.get("label_seconds")
    if not seconds:
        return not_run("throughput", "structures/hour", "the file does not say how long labelling took")
    rate = 3600.0 * len(evidence.dataset) / float(seconds)
    why = f"{len(evidence.dataset)} structures in {float(seconds):.0f} s on {evidence.dataset.attributes['workers']} workers"
    return at_least("throughput", rate, evidence.gates.min_structures_per_hour, "structures/hour", why)


def integrity(evidence: Evidence) -> Finding:
    """Checksums of every block of the file."""
    faults = evidence.dataset.verify()
    why = "; ".join(faults) if faults else "every block has the checksum that was written with it"
    return at_most("integrity", len(faults), 0, "faults", why)


CHECKS: tuple[Check, ...] = (
    teacher_success,
    element_entropy,
    element_coverage,
    size_cv,
    duplicates,
    near_duplicates,
    distances,
    hydrogens,
    finite,
    force_limits,
    label_replay,
    split_leakage,
    teacher_fingerprint,
    throughput,
    integrity,
)


def wilson_interval(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """Confidence interval of a rate (Wilson, J. Am. Stat. Assoc. 22, 209 (1927)).

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


def _label_gap(structure: Structure, again: Labels | None) -> float:
    """Largest difference between stored and repeated labels: eV per atom, eV/Å, eV/Å^3, whichever is largest."""
    stored = structure.labels
    if again is None or stored is None:
        return math.inf
    gaps = [abs(again.energy - stored.energy) / len(structure), float(np.abs(again.forces - stored.forces).max())]
    if (again.stress is None) != (stored.stress is None):
        return math.inf
    if again.stress is not None and stored.stress is not None:
        gaps.append(float(np.abs(again.stress - stored.stress).max()))
    largest = float(np.max(gaps))
    return math.inf if math.isnan(largest) else largest


def _count(words: Iterable[str]) -> list[tuple[str, int]]:
    return Counter(words).most_common()
