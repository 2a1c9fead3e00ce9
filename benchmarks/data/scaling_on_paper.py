"""What would a run of 10 or 100 million structures be held up by? Rates measured in small, and arithmetic.

    python -m benchmarks.data.scaling_on_paper [--structures 4000]

Measured here: what the driver, which is one process, spends on a structure, a part file and a task (in seconds of its own
processor, so that a busy machine does little harm), what memory it keeps, and what a file takes. From
``results/sources.json``: the structures that a core makes in an hour, in the mix of traditional sources of
``production_120k``. Assumed, not measured: the rate of a GPU, and the cores beside it. Nothing in the rows ``case`` was run.
Results in ``results/scaling_on_paper.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.data.execution import passed_per_second
from benchmarks.lib.common import RESULTS, write_results

from potstill.audit.options import AuditConfig
from potstill.audit.stage import audit
from potstill.config import load_config
from potstill.core.types import Labels, Structure
from potstill.dataset import Dataset, merge, write_part
from potstill.dataset.options import SplitConfig
from potstill.execute.options import Local, Parsl
from potstill.generate.filter import DuplicateFilter
from potstill.label.stage import assemble
from potstill.run.folder import RunFolder
from potstill.run.metrics_file import read_metrics
from potstill.stats import collect
from potstill.teacher.choices import parse_teacher

ASSUMED = {
    "gpu_atoms_per_second": 24_000,
    "gpu_source": "ORB-v3-Direct, A100 40 GB, TorchSim, batches of 16 crystals of 64 atoms: adeeshkolluru.com/benchmarks/"
    "mlip-inference; orb-v2, which is of its kind, is taken to be as fast",
    "atoms_per_structure": 20,
    "cores_per_gpu": 16,
    "candidates_per_task": 32,
    "structures_per_task": 200,
    "candidates_per_structure": 1.3,
    "driver_memory_bytes": 64e9,
    "driver_cores": 16,
}
CASES = ((120_000, 1), (10_000_000, 64), (100_000_000, 512))  # structures, GPUs
ELEMENTS = np.array([1, 3, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 19, 20, 22, 26, 28, 29, 30])
TEACHER = parse_teacher({"name": "lennard-jones"})
METRIC_LINES = 20_000


def structures(count: int) -> list[Structure]:
    """Jittered grids of some elements, 20 atoms on average."""
    rng = np.random.default_rng(1)
    made = []
    for k in range(count):
        cells = rng.integers(2, 4, size=3)
        grid = np.stack(np.meshgrid(*(np.arange(c) for c in cells), indexing="ij"), axis=-1).reshape(-1, 3) * 2.8
        numbers = rng.choice(rng.choice(ELEMENTS, 3, replace=False), len(grid))
        name = f"grid-{k:06d}"
        made.append(
            Structure(
                atomic_numbers=numbers,
                positions=(grid + rng.normal(0, 0.1, grid.shape)).astype(np.float32),
                cell=np.diag(cells * 2.8),
                pbc=np.ones(3, bool),
                id=name,
                source=f"grid{k % 8}",
                family=name,
                generator_metadata={"rattle_angstrom": 0.1, "prototype": "AB_cF8_225_a_b", "parent": name},
            )
        )
    return made


def spent(call: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of this process, and bytes of anonymous memory that it kept or took at most."""
    before, started = anonymous(), time.process_time()
    kept = call()
    seconds, after = time.process_time() - started, anonymous()
    del kept
    return seconds, max(after - before, 0)


def anonymous() -> int:
    """Memory of this process that no file stands behind."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def measure(count: int) -> dict[str, float]:
    """Costs of the driver, each of one structure, part or task."""
    found: dict[str, float] = {}
    made = structures(count)
    found["atoms_per_structure"] = sum(map(len, made)) / count
    door = DuplicateFilter()
    seconds, memory = spent(lambda: [door.admit(s) for s in made])
    found |= {"door_seconds": seconds / count, "filter_bytes": memory / count}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        reading, assembling = {}, {}
        for size in (32, 200):
            parts = _parts(folder / f"generated-{size}", made, size, labelled=False)
            reading[size], _ = spent(lambda parts=parts: [[list(d), list(d.refused)] for d in map(Dataset, parts)])
            merge(parts, folder / "structures.h5", attributes={})
            written = time.perf_counter()
            parts = _parts(folder / f"labelled-{size}", made, size, labelled=True)
            found["write_part_wall_seconds"] = (time.perf_counter() - written) / len(parts)
            assembling[size], _ = spent(lambda parts=parts: _assemble(parts, folder))
        tracemalloc.start()  # its memory is freed and taken again, which pages do not show
        _assemble(parts, folder)
        found["assemble_bytes"] = tracemalloc.get_traced_memory()[1] / count
        tracemalloc.stop()
        found["read_part_seconds"], found["read_seconds"] = _two(reading, count)
        found["assemble_part_seconds"], found["assemble_seconds"] = _two(assembling, count)
        dataset = Dataset(folder / "dataset.h5")
        found["dataset_bytes"] = dataset.path.stat().st_size / count
        found["part_bytes"] = parts[0].stat().st_size
        few = _parts(folder / "few", made[: count // 4], 200, labelled=True)
        _assemble(few, folder, "few.h5", made[: count // 4])
        judged, collected = {}, {}
        for n, path in ((count // 4, folder / "few.h5"), (count, folder / "dataset.h5")):
            collected[n], _ = spent(lambda path=path: collect(Dataset(path), workers=1))
            judged[n] = spent(lambda path=path: audit(Dataset(path), AuditConfig(), teacher=TEACHER.load))
        more = count - count // 4
        found["collect_seconds"] = (collected[count] - collected[count // 4]) / more
        found["judge_seconds"] = max((judged[count][0] - judged[count // 4][0]) / more - found["collect_seconds"], 0.0)
        found["audit_bytes"] = max(judged[count][1] / count, 8.0 * 60)
        seconds, _ = spent(lambda: [os.stat(os.path.join(f, n)).st_size for f, _, ns in os.walk(folder) for n in ns])  # noqa: PTH116, PTH118 - as the monitor does
        found["look_at_file_seconds"] = seconds / sum(1 for _ in folder.rglob("*.h5"))
        run = RunFolder(folder)
        for k in range(METRIC_LINES):
            run.log_metrics(stage="label", labelled=200, refused=0, sources={"grid": [200, 0]}, seconds=1.0, worker=f"n:{k}")
        seconds, _ = spent(lambda: read_metrics(run.metrics))
        found |= {
            "metrics_line_seconds": seconds / METRIC_LINES,
            "metrics_line_bytes": run.metrics.stat().st_size / METRIC_LINES,
        }
    for label, execute in (("local", Local()), ("parsl", Parsl(workers_per_node=2))):
        with tempfile.TemporaryDirectory() as name:
            found[f"{label}_tasks_per_second"] = passed_per_second(execute, Path(name), 2, 500)
    return found


def _parts(folder: Path, made: list[Structure], size: int, *, labelled: bool) -> list[Path]:
    folder.mkdir()
    paths = []
    for k in range(0, len(made), size):
        some = made[k : k + size]
        path = folder / f"{k:08d}-{k + len(some):08d}.h5"
        attributes = {"teacher": {"name": "none"}, "seconds": 1.0} if labelled else {}
        if labelled:
            some = [s.with_(labels=Labels(-1.0, np.zeros((len(s), 3)), np.zeros((3, 3)))) for s in some]
        write_part(path, some, [], labelled=labelled, attributes=attributes)
        paths.append(path)
    return paths


def _assemble(parts: list[Path], folder: Path, name: str = "dataset.h5", made: list[Structure] | None = None) -> None:
    generated = folder / "structures.h5"
    if made is not None:
        generated = _parts(folder / "generated-few", made, len(made), labelled=False)[0]
    assemble(parts, generated, folder / name, split=SplitConfig(), seed=1, attributes={"label_seconds": 1.0, "workers": 1})


def _two(seconds: dict[int, float], count: int) -> tuple[float, float]:
    """Seconds of a part and of a structure, from the same structures in small and in large parts."""
    small, large = sorted(seconds)
    parts = {size: -(-count // size) for size in seconds}
    per_part = max(seconds[small] - seconds[large], 0.0) / (parts[small] - parts[large])
    return per_part, max(seconds[large] - per_part * parts[large], 0.0) / count


def core_rate() -> float:
    """Structures that a core makes in a second, in the traditional mix of the production config."""
    rows = json.loads((RESULTS / "sources.json").read_text(encoding="utf-8"))["rows"]
    rate = {row["source"]: row["structures_per_cpu_hour"] / 3600 for row in rows if row.get("runs")}
    config = load_config(Path(__file__).parents[2] / "src" / "potstill" / "templates" / "production_120k.yaml")
    counts = [(s.count, rate[s.source]) for s in config.generate.sources if getattr(s, "source", "") in rate]  # type: ignore[attr-defined]
    return sum(n for n, _ in counts) / sum(n / r for n, r in counts)


def case(count: int, gpus: int, m: dict[str, float], rate: float) -> dict[str, Any]:
    """Hours of each thing, each as if it were alone; what is done by one process and what by all."""
    made_parts = count * ASSUMED["candidates_per_structure"] / ASSUMED["candidates_per_task"]
    labelled_parts = count / ASSUMED["structures_per_task"]
    seconds = {
        "workers: make structures": count / (rate * gpus * ASSUMED["cores_per_gpu"]),
        "workers: label": count * ASSUMED["atoms_per_structure"] / (ASSUMED["gpu_atoms_per_second"] * gpus),
        "driver: pass tasks": (made_parts + labelled_parts) / m["parsl_tasks_per_second"],
        "driver: read parts and the filter": made_parts * m["read_part_seconds"]
        + count * (m["read_seconds"] + m["door_seconds"]),
        "driver: assemble and join": labelled_parts * m["assemble_part_seconds"] + 2 * count * m["assemble_seconds"],
        "driver: audit batches and the whole": 2
        * count
        * (m["collect_seconds"] / ASSUMED["driver_cores"] + m["judge_seconds"]),
    }
    slowest = max(seconds, key=lambda name: seconds[name])
    return {
        "what": "case",
        "structures": count,
        "gpus": gpus,
        "hours": {name: value / 3600 for name, value in seconds.items()},
        "bottleneck": slowest,
        "driver_share": sum(v for n, v in seconds.items() if n.startswith("driver")) / sum(seconds.values()),
        "door_gigabytes": count * m["filter_bytes"] / 1e9,
        "audit_gigabytes": count * m["audit_bytes"] / 1e9,
        "assemble_gigabytes": count * m["assemble_bytes"] / 1e9,
        "part_files": round(made_parts + labelled_parts),
        "dataset_gigabytes": count * m["dataset_bytes"] / 1e9,
        "ptr_gigabytes": count * 8 / 1e9,
        "metrics_gigabytes": labelled_parts * m["metrics_line_bytes"] / 1e9,
        "status_seconds": labelled_parts * m["metrics_line_seconds"]
        + (made_parts + labelled_parts) * m["look_at_file_seconds"],
        "free_gigabytes_needed": 3 * count * m["dataset_bytes"] / 1e9,
    }


def limits(m: dict[str, float], rate: float) -> list[dict[str, Any]]:
    """How far each thing carries."""
    memory = ASSUMED["driver_memory_bytes"]
    per_structure = ASSUMED["candidates_per_structure"] / ASSUMED["candidates_per_task"]
    serial = per_structure * m["read_part_seconds"] + m["read_seconds"] + m["door_seconds"]
    gpu = ASSUMED["gpu_atoms_per_second"] / ASSUMED["atoms_per_structure"]
    look = m["metrics_line_seconds"] / ASSUMED["structures_per_task"] + m["look_at_file_seconds"] * (
        per_structure + 1 / ASSUMED["structures_per_task"]
    )
    rows = [
        ("driver's filter in 64 GB", memory / m["filter_bytes"], "structures"),
        ("the audit's table in 64 GB", memory / m["audit_bytes"], "structures"),
        ("assembling in 64 GB", memory / m["assemble_bytes"], "structures"),
        ("a look of the monitor at metrics.jsonl and all files in its 15 s", 15.0 / look, "structures"),
        ("GPUs that the driver's filter can keep up with", 1 / (serial * gpu), "GPUs"),
        (
            "GPUs that the driver can pass tasks to",
            m["parsl_tasks_per_second"] * ASSUMED["structures_per_task"] / gpu,
            "GPUs",
        ),
        ("cores beside a GPU that make structures as fast as it labels them", gpu / rate, "cores"),
    ]
    return [{"what": "limit", "limit": name, "value": float(value), "unit": unit} for name, value, unit in rows]


def main() -> None:
    """Measure, compute, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--structures", type=int, default=4000)
    asked = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    measured, rate = measure(asked.structures), core_rate()
    rows: list[dict[str, Any]] = [
        {"what": "measured", "structures": asked.structures, "structures_per_core_second": rate, **measured},
        {"what": "assumed", **ASSUMED},
        *(case(count, gpus, measured, rate) for count, gpus in CASES),
        *limits(measured, rate),
    ]
    for row in rows:
        print(json.dumps(row, indent=1, ensure_ascii=False))
    print(write_results("scaling_on_paper", rows))


if __name__ == "__main__":
    main()
