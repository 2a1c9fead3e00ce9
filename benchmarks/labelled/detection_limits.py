"""How small a fault the audit still sees, on real labels: for each kind of fault the smallest size that is always caught.

Run:  nice -n 19 python -m benchmarks.labelled.detection_limits DATASET [--structures 300] [--trials 3] [--all-sources]

DATASET is a labelled dataset that is known to be good. Whole families are drawn from it, so that structures keep their
siblings, and of its largest sources only, as a small draw of many sources knows no spreads; the gates of elements are open,
and all others are the defaults. A fault of some size is injected with different random numbers, and is caught where a check
says NO_GO that does not say so of the clean draw. The smallest size of a ladder that is caught in every trial is found by
bisection. Structures that are as they were are "labelled again" from memory, for the teacher repeats itself to 1e-5 eV/Å;
moved ones are labelled by the teacher. The checks of gradients, which ask the teacher many times, are left
out, and so are those of surroundings, rates and amounts, which no fault here touches.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.lib.common import write_results

from potstill.audit.checks import CHECKS
from potstill.audit.options import AuditConfig
from potstill.audit.stage import audit
from potstill.core.types import Labels, Refused, Structure, Teacher
from potstill.core.verdict import is_failure
from potstill.dataset import Dataset, merge, open_file, split_by_family, write_part
from potstill.teacher import load_teacher
from potstill.testing.faults import config_asking_for, relabelled

ASKING_MUCH = {"gradients", "conservative_forces", "equivalent_structures", "repeated_cells", "rotated_structures"}
LEFT_OUT = {*ASKING_MUCH, "structural_entropy", "source_novelty", "throughput", "shares", "refusals", "size_cv"}
JUDGED = [check for check in CHECKS if check.__name__ not in LEFT_OUT]
GATES = AuditConfig(min_element_entropy_bits=0.0, min_element_coverage=1, min_structures_per_element=1)
FEWEST_OF_A_SOURCE = 40  # in the draw; of fewer than 20 the audit knows no spread
Rng = np.random.Generator
Structures = list[Structure]


class Remembering:
    """The recorded teacher, which is asked only where its answer is not known."""

    properties = frozenset({"energy", "forces", "stress"})
    elements = None

    def __init__(self, structures: Sequence[Structure], fingerprint: dict[str, str], name: str) -> None:
        self._known = {_key(s): s.labels for s in structures}
        self.fingerprint, self._name = fingerprint, name

    @cached_property
    def _asked(self) -> Teacher:
        return load_teacher(self._name)

    def label(self, structures: Sequence[Structure]) -> list[Labels | Refused]:
        found: list[Labels | Refused | None] = [self._known.get(_key(s)) for s in structures]
        new = [k for k, answer in enumerate(found) if answer is None]
        if new:
            for k, answer in zip(new, self._asked.label([structures[k] for k in new]), strict=True):
                found[k] = answer
        return [answer for answer in found if answer is not None]


def _key(structure: Structure) -> bytes:
    single = structure.positions.astype(np.float32)
    return b"".join(x.tobytes() for x in (structure.atomic_numbers, single, structure.cell, structure.pbc))


@dataclass(frozen=True)
class Ladder:
    """A kind of fault and its sizes, the hardest to see first."""

    name: str
    unit: str
    sizes: tuple[float, ...]
    inject: Callable[[Structures, float, Rng], Structures]


def scale(name: str) -> Callable[[Structures, float, Rng], Structures]:
    """All labels of a kind times 1 + size."""

    def inject(structures: Structures, size: float, _: Rng) -> Structures:
        def changed(s: Structure) -> Structure:
            old = getattr(s.labels, name)
            return s if old is None else relabelled(s, **{name: old * (1 + size)})

        return [changed(s) for s in structures]

    return inject


def shift(structures: Structures, size: float, _: Rng) -> Structures:
    """All energies by as much per atom."""
    return [relabelled(s, energy=s.labels.energy + size * len(s)) for s in structures]


def shift_source(structures: Structures, size: float, rng: Rng) -> Structures:
    """The energies of one source by as much per atom."""
    source = str(rng.choice(sorted({s.source for s in structures})))
    return [relabelled(s, energy=s.labels.energy + size * len(s)) if s.source == source else s for s in structures]


def noise_energies(structures: Structures, size: float, rng: Rng) -> Structures:
    """Normal noise per atom on every energy."""
    return [relabelled(s, energy=s.labels.energy + size * len(s) * rng.normal()) for s in structures]


def noise_forces(structures: Structures, size: float, rng: Rng) -> Structures:
    """Normal noise on every component of every force, with no sum."""
    return [relabelled(s, forces=s.labels.forces + _without_sum(rng.normal(0, size, (len(s), 3)))) for s in structures]


def noise_forces_of_one(periodic: bool) -> Callable[[Structures, float, Rng], Structures]:
    """The same in one molecule or crystal."""

    def inject(structures: Structures, size: float, rng: Rng) -> Structures:
        def spoil(s: Structure) -> Structure:
            return relabelled(s, forces=s.labels.forces + _without_sum(rng.normal(0, size, (len(s), 3))))

        return _one(structures, rng, spoil, _large(periodic))

    return inject


def one_energy(structures: Structures, size: float, rng: Rng) -> Structures:
    """The energy of one structure by as much per atom."""
    return _one(structures, rng, lambda s: relabelled(s, energy=s.labels.energy + size * len(s)))


def one_force(structures: Structures, size: float, rng: Rng) -> Structures:
    """One component of one force."""

    def push(s: Structure) -> Structure:
        forces = s.labels.forces.copy()
        forces[rng.integers(len(s)), rng.integers(3)] += size
        return relabelled(s, forces=forces)

    return _one(structures, rng, push)


def move_one_atom(periodic: bool) -> Callable[[Structures, float, Rng], Structures]:
    """One atom of one molecule or crystal after it was labelled."""

    def inject(structures: Structures, size: float, rng: Rng) -> Structures:
        def move(s: Structure) -> Structure:
            positions, way = s.positions.copy(), rng.normal(size=3)
            positions[rng.integers(len(s))] += size * way / np.linalg.norm(way)
            return s.with_(positions=positions.astype(np.float32).astype(float))

        return _one(structures, rng, move, _large(periodic))

    return inject


def swap_energies(structures: Structures, size: float, rng: Rng) -> Structures:
    """Energies per atom of so many pairs of structures of one source, swapped."""
    changed = list(structures)
    for _ in range(round(size)):
        a = int(rng.integers(len(changed)))
        same = [k for k, s in enumerate(changed) if s.source == changed[a].source and k != a]
        b = int(rng.choice(same))
        one, other = changed[a], changed[b]
        changed[a] = relabelled(one, energy=other.labels.energy / len(other) * len(one))
        changed[b] = relabelled(other, energy=one.labels.energy / len(one) * len(other))
    return changed


def swap_labels(structures: Structures, size: float, rng: Rng) -> Structures:
    """All labels of so many structures, from another one with as many atoms."""
    changed = list(structures)
    for _ in range(round(size)):
        while True:
            a, b = (int(k) for k in rng.choice(len(changed), 2, replace=False))
            if len(changed[a]) == len(changed[b]) and (changed[a].pbc == changed[b].pbc).all():
                break
        changed[a] = changed[a].with_(labels=structures[b].labels)
    return changed


def another_teacher(structures: Structures, size: float, rng: Rng) -> Structures:
    """A share of the labels from a teacher that differs by 2 % in energies and 3 % in forces and stresses."""
    changed = list(structures)
    for k in rng.choice(len(changed), max(1, round(size * len(changed))), replace=False):
        s = changed[k]
        stress = None if s.labels.stress is None else 1.03 * s.labels.stress
        changed[k] = relabelled(s, energy=1.02 * s.labels.energy, forces=1.03 * s.labels.forces, stress=stress)
    return changed


def round_forces(structures: Structures, size: float, rng: Rng) -> Structures:
    """Forces of so many structures rounded to 16 bits."""
    changed = list(structures)
    able = [k for k, s in enumerate(changed) if len(s) > 3 and np.abs(s.labels.forces).max() > 0.1]
    for k in rng.choice(able, round(size), replace=False):
        forces = changed[k].labels.forces.astype(np.float16).astype(float)
        changed[k] = relabelled(changed[k], forces=forces)
    return changed


def copies(structures: Structures, size: float, rng: Rng) -> Structures:
    """So many copies, turned."""
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    chosen = rng.choice(len(structures), round(size), replace=False)
    return [*structures, *(_copy(structures[k], k, turn, 0.0, rng) for k in chosen)]


def moved_copy(structures: Structures, size: float, rng: Rng) -> Structures:
    """One copy whose atoms were moved by normal noise before it was labelled."""
    k = int(rng.integers(len(structures)))
    return [*structures, _copy(structures[k], k, np.eye(3), size, rng)]


def lost_hydrogens(structures: Structures, size: float, rng: Rng) -> Structures:
    """One hydrogen of so many molecules, and its labels."""
    changed = list(structures)
    able = [k for k, s in enumerate(changed) if not s.pbc.any() and {1, 6} <= set(s.atomic_numbers.tolist()) and len(s) > 5]
    for k in rng.choice(able, round(size), replace=False):
        s = changed[k]
        keep = np.arange(len(s)) != int(rng.choice(np.flatnonzero(s.atomic_numbers == 1)))
        changed[k] = s.with_(
            atomic_numbers=s.atomic_numbers[keep],
            positions=s.positions[keep],
            labels=Labels(s.labels.energy, s.labels.forces[keep], s.labels.stress),
        )
    return changed


def _copy(s: Structure, k: int, turn: np.ndarray, noise: float, rng: Rng) -> Structure:
    moved = s.positions @ turn + rng.normal(0, noise, s.positions.shape)
    stress = None if s.labels.stress is None else turn.T @ s.labels.stress @ turn
    labels = Labels(s.labels.energy, s.labels.forces @ turn, stress)
    return s.with_(id=f"copy-{k:06d}", positions=moved, cell=s.cell @ turn, labels=labels)


def _large(periodic: bool) -> Callable[[Structure], bool]:
    return lambda s: len(s) > 2 and s.pbc.all() == periodic and s.pbc.any() == periodic


def _one(
    structures: Structures, rng: Rng, change: Callable[[Structure], Structure], wanted: Callable[[Structure], bool] = bool
) -> Structures:
    k = int(rng.choice([k for k, s in enumerate(structures) if wanted(s)]))
    return [*structures[:k], change(structures[k]), *structures[k + 1 :]]


def _without_sum(rows: np.ndarray) -> np.ndarray:
    return rows - rows.mean(axis=0)


FACTORS = (1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3)
EV = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
MOVES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0)
COUNTS = (1, 2, 3, 5, 10, 20, 40)
LADDERS = (
    Ladder("all energies times 1 + x", "x", FACTORS, scale("energy")),
    Ladder("all forces times 1 + x", "x", FACTORS, scale("forces")),
    Ladder("all stresses times 1 + x", "x", FACTORS, scale("stress")),
    Ladder("all energies shifted", "eV/atom", EV, shift),
    Ladder("energies of one source shifted", "eV/atom", EV, shift_source),
    Ladder("noise on all energies", "eV/atom", EV, noise_energies),
    Ladder("noise on all forces", "eV/Å", EV, noise_forces),
    Ladder("noise on the forces of one molecule", "eV/Å", EV, noise_forces_of_one(periodic=False)),
    Ladder("noise on the forces of one crystal", "eV/Å", EV, noise_forces_of_one(periodic=True)),
    Ladder("one energy shifted", "eV/atom", EV, one_energy),
    Ladder("one component of one force changed", "eV/Å", EV, one_force),
    Ladder("one atom of a molecule moved after labelling", "Å", MOVES, move_one_atom(periodic=False)),
    Ladder("one atom of a crystal moved after labelling", "Å", MOVES, move_one_atom(periodic=True)),
    Ladder("energies of pairs swapped", "pairs", COUNTS, swap_energies),
    Ladder("labels of other structures", "structures", COUNTS, swap_labels),
    Ladder(
        "share of labels by another teacher", "share", (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0), another_teacher
    ),
    Ladder("forces rounded to 16 bits", "structures", COUNTS, round_forces),
    Ladder("turned copies", "structures", COUNTS, copies),
    Ladder(
        "one copy moved by noise: largest seen", "Å", (0.05, 0.03, 0.02, 0.015, 0.01, 0.007, 0.005, 0.003, 0.001), moved_copy
    ),
    Ladder("molecules that lost a hydrogen", "structures", COUNTS, lost_hydrogens),
)


@dataclass
class Bench:
    """A clean draw, and the audit of what becomes of it."""

    clean: Structures
    attributes: dict[str, Any]
    teacher: Remembering
    folder: Path

    @cached_property
    def alarms(self) -> set[str]:
        """Checks that refuse the clean draw."""
        return self._judge(self.clean, 0)

    def caught_by(self, structures: Structures, seed: int) -> set[str]:
        """Checks that refuse these structures, and not the clean draw."""
        return self._judge(structures, seed) - self.alarms

    def _judge(self, structures: Structures, seed: int) -> set[str]:
        part, path = self.folder / "part.h5", self.folder / "data.h5"
        families, elements = [s.family for s in structures], [frozenset(s.atomic_numbers.tolist()) for s in structures]
        splits = split_by_family(families, elements, valid_fraction=0.1, test_fraction=0.1, seed=1)
        write_part(part, structures, labelled=True)
        attributes = {**self.attributes, "config": config_asking_for(self.clean)}
        merge([part], path, attributes=attributes, splits=splits)
        part.unlink()
        report, _ = audit(open_file(path), GATES, teacher=lambda: self.teacher, seed=seed, checks=JUDGED)
        return {f["check"] for f in report["findings"] if is_failure(f["verdict"])}


def draw(dataset: Dataset, count: int, rng: Rng, *, fewest: int) -> Structures:
    """Whole families, of sources that have so many in the draw, until there are enough structures."""
    sources = dataset.sources.tolist()
    kept, total = set(), 0
    for name, held in Counter(sources).most_common():
        total += held
        if count * held / total < fewest:
            break
        kept.add(name)
    rows: dict[str, list[int]] = {}
    for k, family in enumerate(dataset.families.tolist()):
        if sources[k] in kept:
            rows.setdefault(family, []).append(k)
    chosen: list[int] = []
    for name in rng.permutation(sorted(rows)):
        if len(chosen) >= count:
            break
        chosen += rows[name]
    return [dataset[k] for k in sorted(chosen)]


def climb(bench: Bench, ladder: Ladder, trials: int) -> dict[str, Any]:
    """The first rung, by bisection, that is caught in every trial, with the checks that caught it."""
    seen: dict[int, list[set[str]]] = {}

    def caught(rung: int) -> bool:
        if rung not in seen:
            seen[rung] = []
            for trial in range(trials):
                rng = np.random.default_rng([trial, rung])
                seen[rung].append(bench.caught_by(ladder.inject(bench.clean, ladder.sizes[rung], rng), trial))
        return all(seen[rung])

    low, high = -1, len(ladder.sizes)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if caught(middle) else (middle, high)
    if high == len(ladder.sizes):
        found = {"smallest": None, "largest_tried": ladder.sizes[-1]}
    else:
        found = {"smallest": ladder.sizes[high], "checks": dict(Counter(c for checks in seen[high] for c in sorted(checks)))}
    rates = {str(ladder.sizes[rung]): sum(map(bool, checks)) / len(checks) for rung, checks in sorted(seen.items())}
    return {"fault": ladder.name, "unit": ladder.unit, **found, "caught": rates, "trials": trials}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--structures", type=int, default=300)
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--teacher", default="sevennet", help="that made the labels, for structures that are moved")
    parser.add_argument("--all-sources", action="store_true", help="also those with few structures in the draw")
    options = parser.parse_args()
    dataset = open_file(options.dataset)
    fewest = 0 if options.all_sources else FEWEST_OF_A_SOURCE
    clean = draw(dataset, options.structures, np.random.default_rng(1), fewest=fewest)
    recorded = json.loads(dataset.attributes["teacher"])
    attributes = {"teacher": recorded, "label_seconds": 1.0, "workers": 1}
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(clean, attributes, Remembering(clean, recorded, options.teacher), Path(scratch))
        print(f"{len(clean)} structures; the clean draw is refused by: {', '.join(sorted(bench.alarms)) or 'nothing'}")
        about = {"structures": len(clean), "teacher": recorded["name"], "refused_when_clean": sorted(bench.alarms)}
        about["draw"] = "all sources" if options.all_sources else "largest sources"
        rows = []
        for ladder in LADDERS:
            rows.append({**climb(bench, ladder, options.trials), **about})
            print(json.dumps(rows[-1], ensure_ascii=False), flush=True)
            path = write_results("detection_limits", rows)
    print(path)


if __name__ == "__main__":
    main()
