"""Rates and refusals of every source that runs here, and a large mix of the traditional ones.

    python -m benchmarks.data.sources [--count 1000] [--workers 2] [--source NAME ...] [--many 10000] [--folder DIR]

Each source makes ``--count`` structures by itself, with the elements from hydrogen to plutonium and its own defaults,
through the stage generate: with the filter, part files and start of workers. Derived sources start from prototypes that are
made before the clock runs, or from alloys that EMT moves where they need a teacher. A source that cannot be made here, or
that needs files, is listed with the reason.

With ``--many`` a mix of traditional sources is made twice, with one worker and with ``--workers``: the rows say how far
the two files agree, and what is in them. They are written to ``results/sources_mix.json``, the rates to
``results/sources.json``.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.lib.common import write_results

from potstill.audit.checks import Evidence
from potstill.audit.duplicates import duplicates, near_duplicates
from potstill.audit.options import AuditConfig
from potstill.config import Config, parse_config
from potstill.core.errors import PotstillError
from potstill.dataset import open_dataset
from potstill.execute import available_cores
from potstill.generate.elements import allowed
from potstill.generate.options import SOURCES, GenerateConfig
from potstill.generate.source_count import SourceCount
from potstill.generate.stage import generate
from potstill.stats import collect

PARENTS = {"source": "prototypes", "label": "parents", "count": 200}
METALS = {"source": "alloys", "label": "parents", "count": 200, "elements": ["Al", "Ni", "Cu", "Pd", "Ag", "Pt", "Au"]}
BY_TEACHER = ("trees", "md")  # whose atoms a teacher moves: EMT here, so that the rate is that of the source
SEED = 1
# shares of the mix, in the order in which they are made
MIX = {
    "molecules": 0.06,
    "mutants": 0.06,
    "torsions": 0.06,
    "dimers": 0.08,
    "liquids": 0.04,
    "melts": 0.08,
    "crystals": 0.14,
    "prototypes": 0.14,
    "alloys": 0.10,
    "surfaces": 0.10,
    "clusters": 0.06,
    "defects": 0.08,
}


def section(sources: list[dict[str, Any]]) -> GenerateConfig:
    """Section ``generate`` with these sources and every element."""
    config: Config = parse_config({"generate": {"elements": list(allowed(())), "sources": sources}})
    return config.generate


def cpu_seconds() -> float:
    """Of this process and of those that it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def rate(name: str, count: int, workers: int, folder: Path) -> dict[str, Any]:
    """One row: structures per hour and refusals of one source."""
    before: list[dict[str, Any]] = []
    source: dict[str, Any] = {"source": name, "count": count}
    if name in BY_TEACHER:
        source["teacher"] = {"name": "emt"}
    try:
        options = SOURCES[name].model_construct(count=1)
        if why := options.missing():
            return {"source": name, "runs": False, "why": _without_home(why)}
        if options.derived:
            before = [METALS if name in BY_TEACHER else PARENTS]
            generate(section(before), folder, seed=SEED, workers=workers)
        config = section([*before, source])
        start, cpu = time.perf_counter(), cpu_seconds()
        made = generate(config, folder, seed=SEED, workers=workers)[-1]
    except PotstillError as error:
        return {"source": name, "runs": False, "why": _without_home(str(error))}
    seconds, cpu = time.perf_counter() - start, cpu_seconds() - cpu
    asked = made.accepted + sum(made.refused.values())
    return {
        **source,
        "runs": True,
        "structures": made.accepted,
        "workers": workers,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),  # of all processes, Packmol among them: what a busy machine does not change much
        "structures_per_hour": round(3600 * made.accepted / seconds),
        "structures_per_cpu_hour": round(3600 * made.accepted / cpu),
        "refused_share": round(1 - made.accepted / asked, 4),
        "refused_share_by_reason": {reason: round(n / asked, 4) for reason, n in made.refused.items()},
    }


def _without_home(text: str) -> str:
    return " ".join(text.replace(str(Path.home()), "~").split())


def runs_here(name: str) -> str | None:
    """None where the source makes something here, or why not."""
    try:
        source = section([{"source": name, "count": 1}]).resolved_sources()[0]
        source.propose([0], SEED, ())
    except PotstillError as error:
        return _without_home(str(error))
    return None


def mix(many: int, workers: int, folder: Path) -> dict[str, Any]:
    """The row of a mix of all traditional sources that run here, made with one worker and with several."""
    missing = {name: why for name in MIX if not SOURCES[name].model_construct(count=1).derived and (why := runs_here(name))}
    shares = {name: share for name, share in MIX.items() if name not in missing}
    counts = {name: round(many * share / sum(shares.values())) for name, share in shares.items()}
    counts["prototypes"] += many - sum(counts.values())
    config = section([{"source": name, "count": n} for name, n in counts.items() if n > 0])
    seconds, digests, made = {}, {}, list[SourceCount]()
    for n in sorted({1, workers}):
        start = time.perf_counter()
        made = generate(config, folder / f"{n}-workers", seed=SEED, workers=n)
        seconds[n] = round(time.perf_counter() - start, 1)
        digests[n] = hashlib.sha256((folder / f"{n}-workers" / "structures.h5").read_bytes()).hexdigest()
    dataset = open_dataset(folder / "1-workers" / "structures.h5")
    stats = collect(dataset)
    evidence = Evidence(dataset, stats, AuditConfig())
    return {
        "structures": len(dataset),
        "asked": many,
        "sources": {count.name: count.accepted for count in made},
        "left_out": missing,
        "duplicates": duplicates(evidence).measured,
        "near_duplicates": near_duplicates(evidence).measured,
        "smallest_scaled_distance": round(min(stats.scaled_distance), 4),
        "closer_than_0.6": sum(scaled < 0.6 for scaled in stats.scaled_distance),
        "elements": len(stats.element_counts),
        "element_entropy_bits": round(stats.entropy_bits(), 3),
        "size_cv": round(stats.size_cv(), 3),
        "atoms_mean": round(sum(stats.atoms) / len(stats.atoms), 1),
        "atoms_largest": max(stats.atoms),
        "families": len(set(stats.families)),
        "refused": {count.name: count.refused for count in made},
        "seconds_by_workers": seconds,
        "sha256_by_workers": digests,
        "same_file": len(set(digests.values())) == 1,
    }


def main() -> None:
    """Measure, print, write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="structures of each source; 0 leaves the rates out")
    parser.add_argument("--workers", type=int, default=available_cores())
    parser.add_argument("--source", action="append", choices=sorted(SOURCES), help="only this one; may be repeated")
    parser.add_argument("--many", type=int, default=0, help="structures of the mix")
    parser.add_argument("--folder", type=Path, help="where files are made; a temporary folder if not given")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        if options.count:
            rows = []
            for source in options.source or SOURCES:
                rows.append(rate(source, options.count, options.workers, folder / source))
                print(rows[-1], flush=True)
            print(write_results("sources", rows))
        if options.many:
            row = mix(options.many, options.workers, folder / "mix")
            for key, value in row.items():
                print(f"{key}: {value}")
            print(write_results("sources_mix", [row]))


if __name__ == "__main__":
    main()
