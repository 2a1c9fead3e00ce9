"""The audit of real data: false NO-GOs over clean draws, swapped labels that come to light, time and memory by size.

Run:  python -m benchmarks.labelled.audit DATASET [--draws 200] [--swaps 200] [--sizes 10000 120000]

DATASET is a labelled dataset that is known to be good. A draw is an eighth of it, by families, held against the
default gates; its config asks for what it holds. The replay is left out: it needs the teacher.
For the times, structures of the dataset are moved by random displacements until there are enough of them. Parts that
are not asked for (0 draws or swaps, no sizes) keep their rows of an earlier run.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from benchmarks.lib.common import write_results

from potstill.audit.checks import CHECKS, Evidence
from potstill.audit.labels import work_scores
from potstill.audit.needs import TEACHER
from potstill.audit.options import AuditConfig
from potstill.audit.registry import ENTRIES
from potstill.audit.replay import suspicious
from potstill.audit.stage import audit, run_check
from potstill.core.types import Structure
from potstill.core.verdict import Verdict
from potstill.dataset import Dataset, merge, split_by_family, write_part
from potstill.dataset.read import open_file
from potstill.stats import collect
from potstill.testing.faults import config_asking_for

FIRST_SEED = 10_000  # not those by which gates were chosen
ONLY_WARN = ("source_novelty", "refusals", "stand_ins")
JUDGED = [check for check in CHECKS if TEACHER not in ENTRIES[check.__name__].needs]
REFUSING = [check for check in JUDGED if check.__name__ not in ONLY_WARN]


def write(structures: list[Structure], path: Path, like: Dataset) -> None:
    """A dataset file of these structures, with a split by family and the attributes of another file."""
    families, elements = [s.family for s in structures], [frozenset(s.atomic_numbers.tolist()) for s in structures]
    splits = split_by_family(families, elements, valid_fraction=0.05, test_fraction=0.1, seed=1)
    attributes = {
        "teacher": json.loads(like.attributes["teacher"]),
        "label_seconds": float(like.attributes["label_seconds"]),
        "workers": int(like.attributes["workers"]),
        "config": config_asking_for(structures),
    }
    part = path.with_suffix(".part.h5")
    write_part(part, structures, labelled=True)
    merge([part], path, attributes=attributes, splits=splits)
    part.unlink()


def false_alarms(dataset: Dataset, draws: int, folder: Path) -> dict[str, Any]:
    """Draws of an eighth of the families, and how many of them the audit refuses."""
    structures = list(dataset)
    families = sorted({s.family for s in structures})
    alarms: Counter[str] = Counter()
    refused = 0
    for draw in range(draws):
        rng = np.random.default_rng(FIRST_SEED + draw)
        chosen = set(rng.choice(families, len(families) // 8, replace=False).tolist())
        mine = [s for s in structures if s.family in chosen]
        write(mine, folder / "draw.h5", dataset)
        drawn = open_file(folder / "draw.h5")
        evidence = Evidence(drawn, collect(drawn, workers=1), AuditConfig(), seed=draw)
        findings = [run_check(check, evidence) for check in REFUSING]
        bad = [f.check for f in findings if f.verdict not in (Verdict.GO, Verdict.WARN)]
        refused += bool(bad)
        alarms.update(bad)
    return {
        "part": "false NO-GO",
        "structures": len(structures),
        "draws": draws,
        "refused": refused,
        "by_check": dict(alarms),
    }


def swapped_labels(dataset: Dataset, trials: int) -> dict[str, Any]:
    """Two structures with each other's energy: how often they come to light, of a whole dataset."""
    stats = collect(dataset)
    gates = AuditConfig()
    caught = {"energy_work": 0, "asked again": 0, "either": 0}
    changes: list[tuple[float, bool]] = []
    for trial in range(trials):
        a, b = np.random.default_rng(trial).choice(len(stats), 2, replace=False)
        per_atom, gap = stats.energy_per_atom.copy(), stats.work_gap.copy()
        total = per_atom * stats.atoms
        shift = np.zeros(len(stats))
        shift[[a, b]] = total[[b, a]] - total[[a, b]]
        per_atom += shift / stats.atoms
        here = stats.sibling >= 0
        # a sibling's energy enters the difference with the other sign; which of the two is the first does not matter
        sign = np.where(here, shift[stats.sibling] - shift, 0.0)
        touched = np.abs(sign) > 0
        gap[touched] = (np.abs(sign) / stats.atoms - stats.work_gap)[touched]
        damaged = replace(stats, energy_per_atom=per_atom, work_gap=gap)
        evidence = Evidence(dataset, damaged, gates, seed=trial)
        scores = work_scores(evidence)
        by_work = bool(np.nan_to_num(scores).max() > gates.max_energy_work_ratio)
        asked = bool({int(a), int(b)} & set(suspicious(evidence).tolist()))
        caught["energy_work"] += by_work
        caught["asked again"] += asked
        caught["either"] += by_work or asked
        changes.append((float(np.abs(shift / stats.atoms).max()), by_work or asked))
    beyond = {f"{limit} eV/atom": [seen for change, seen in changes if change > limit] for limit in (0.3, 1.0, 2.0, 5.0)}
    by_change = {limit: f"{sum(seen)} of {len(seen)}" for limit, seen in beyond.items()}
    return {
        "part": "swapped energies of two",
        "structures": len(stats),
        "trials": trials,
        "caught": caught,
        "either_beyond": by_change,
    }


def enlarge(dataset: Dataset, size: int, path: Path) -> None:
    """A file with this many structures: those of the dataset, displaced by 0.02 Å anew each time around."""
    rng = np.random.default_rng(1)
    base = list(dataset)
    many = []
    for k in range(size):
        s = base[k % len(base)]
        moved = s.positions + (rng.normal(0, 0.02, s.positions.shape) if k >= len(base) else 0.0)
        many.append(s.with_(id=f"{s.source}-{k:06d}", positions=moved))
    write(many, path, dataset)


def cost(dataset: Dataset, size: int, folder: Path) -> dict[str, Any]:
    """Seconds and peak memory of an audit without teacher, in a process of its own."""
    path = folder / f"{size}.h5"
    making = [sys.executable, "-m", __spec__.name, str(dataset.path), "--make", str(path), "--sizes", str(size)]
    subprocess.run(making, check=True)
    done = subprocess.run(
        [sys.executable, "-m", __spec__.name, str(path), "--only-audit"], check=True, capture_output=True, text=True
    )
    path.unlink()
    return {"part": "cost", "structures": size, **json.loads(done.stdout.splitlines()[-1])}


class MemoryOfAll(threading.Thread):
    """Largest proportional set size (what is shared counts once) of this process and its children together."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._peak, self._stopped = 0, threading.Event()
        self.start()

    def run(self) -> None:
        """Look five times a second."""
        me = psutil.Process()
        while not self._stopped.wait(0.2):
            total = 0
            for process in (me, *me.children(recursive=True)):
                with suppress(psutil.Error):  # it has just ended
                    total += process.memory_full_info().pss
            self._peak = max(self._peak, total)

    def stop(self) -> int:
        """The peak in bytes."""
        self._stopped.set()
        self.join()
        return self._peak


def only_audit(path: Path) -> dict[str, float]:
    """Audit once, and judge once more by what was kept."""
    kept = path.with_suffix(".npz")
    memory = MemoryOfAll()
    start = time.perf_counter()
    audit(open_file(path), AuditConfig(), checks=JUDGED, kept=kept)
    first = time.perf_counter() - start
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    peak = memory.stop()
    start = time.perf_counter()
    audit(open_file(path), AuditConfig(max_near_duplicates=5), checks=JUDGED, kept=kept)
    again = time.perf_counter() - start
    kept.unlink()
    return {
        "seconds": round(first, 1),
        "cpu_seconds": round(sum(u.ru_utime + u.ru_stime for u in used), 1),
        "seconds_judged_again": round(again, 1),
        "peak_mb_of_all_processes": round(peak / 2**20),
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--swaps", type=int, default=200)
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 120_000])
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--only-audit", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only_audit:
        print(json.dumps(only_audit(options.dataset)))
        return
    dataset = open_file(options.dataset)
    if options.make:
        enlarge(dataset, options.sizes[0], options.make)
        return
    with tempfile.TemporaryDirectory() as scratch:
        rows = []
        if options.draws:
            rows.append(false_alarms(dataset, options.draws, Path(scratch)))
        if options.swaps:
            rows.append(swapped_labels(dataset, options.swaps))
        rows += [cost(dataset, size, Path(scratch)) for size in options.sizes]
    for row in rows:
        print(json.dumps(row))
    print(write_results("audit", rows, keep=("part", "structures")))


if __name__ == "__main__":
    main()
