"""A production run in four batches with a cheap teacher, and the same run killed twenty times.

    python -m benchmarks.runs.production_120k [--structures 120000] [--workers 2] [--kills 20] [--folder DIR] [--seed N]

Time, memory, sizes, and whether both are the same. The first run is left alone and uses local workers. The second uses
Parsl and is killed (SIGKILL) at random moments: the driver, Parsl's manager and a worker in turn; after the driver's end it
is started again with ``--resume``. Both go through ``potstill run --last audit``. Then both datasets are compared with their
checksums and with each other, and every process of the second run must be gone. Memory is that of anonymous pages,
of the driver and of all processes together, looked at every half second; files that are mapped do not count. Results in
``results/production_120k.json``, for sizes other than 120,000 with the size in the name.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml
from benchmarks.lib.common import write_results

from potstill.dataset import open_dataset
from potstill.run.folder import RunFolder

LOOK_SECONDS = 0.5
END_SECONDS = 20.0  # for the last process to be gone
ELEMENTS = tuple("H Li B C N O F Na Mg Al Si P S Cl K Ca Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br".split())  # noqa: SIM905 - easier to read
SHARES: list[tuple[float, dict[str, Any]]] = [
    (0.15, {"source": "prototypes", "max_atoms": 16}),
    (0.08, {"source": "alloys", "max_atoms": 16}),
    (0.04, {"source": "clusters", "max_atoms": 20}),
    (0.01, {"source": "mutants", "max_atoms": 24}),
    (0.01, {"source": "molecules", "max_atoms": 24}),
    (0.02, {"source": "crystals", "max_atoms": 12}),
    (0.69, {"source": "perturb", "max_atoms": 30, "rattle_angstrom": [0.02, 0.08], "max_strain": 0.05}),
]


def config(structures: int, workers: int, execute: dict[str, Any]) -> dict[str, Any]:
    """The production config with cheap sources and a cheap teacher; the same tasks, gates and batches."""
    counts = [round(share * structures) for share, _ in SHARES]
    counts[-1] += structures - sum(counts)
    sources = [{**options, "count": count} for count, (_, options) in zip(counts, SHARES, strict=True)]
    return {
        "seed": 1,
        "workers": workers,
        "batches": [20_000, 40_000, 40_000, 20_000],
        "execute": execute,
        "generate": {"elements": list(ELEMENTS), "sources": sources},
        "label": {
            "teacher": {"name": "lennard-jones", "sigma_angstrom": 0.9},
            "structures_per_task": 200 if structures >= 20_000 else 20,
        },
        "audit": {"min_structures_per_element": 1, "max_fragmented_fraction": 0.1} if structures < 20_000 else {},
    }


@dataclass(slots=True)
class Peaks:
    """Largest memory seen in each batch, in bytes, and every process seen."""

    driver: Counter[str] = field(default_factory=Counter)
    everyone: Counter[str] = field(default_factory=Counter)
    known: dict[int, psutil.Process] = field(default_factory=dict)

    def look(self, run: Path, driver: psutil.Popen) -> list[psutil.Process]:
        """All processes of the run now."""
        family = processes_of(run, driver)
        self.known |= {process.pid: process for process in family}
        held = {process.pid: anonymous_bytes(process.pid) for process in family}
        record = RunFolder(run)
        open_batch = next((b.path.name for b in record.subruns() if not b.passed()), "")
        name = open_batch or ("whole" if record.stage("audit")["state"] != "waiting" else "")
        self.driver[name] = max(self.driver[name], held.get(driver.pid, 0))
        self.everyone[name] = max(self.everyone[name], sum(held.values()))
        return family


def processes_of(run: Path, driver: psutil.Popen) -> list[psutil.Process]:
    """The driver, its children, and those that Parsl keeps on a leash, whose parent may be another."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        try:
            if process.pid == driver.pid or str(run / "batches") in " ".join(process.cmdline()):
                found |= {p.pid: p for p in (process, *process.children(recursive=True))}
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return list(found.values())


def anonymous_bytes(number: int) -> int:
    """Memory of a process that no file stands behind."""
    try:
        lines = Path(f"/proc/{number}/status").read_text(encoding="utf-8").splitlines()
    except (OSError, ProcessLookupError):
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


def start(path: Path, run: Path) -> psutil.Popen:
    """``potstill run`` to the audit of the whole."""
    command = [sys.executable, "-m", "potstill", "run", str(path), "--out", str(run), "--yes", "--resume", "--last", "audit"]
    log = (run.parent / f"{run.name}.out").open("a", encoding="utf-8")
    return psutil.Popen(command, start_new_session=True, stdout=log, stderr=log)


def quiet(path: Path, run: Path) -> tuple[float, Peaks]:
    """The run left alone: seconds and memory."""
    peaks = Peaks()
    started = time.perf_counter()
    driver = start(path, run)
    while driver.poll() is None:
        peaks.look(run, driver)
        time.sleep(LOOK_SECONDS)
    if driver.returncode != 0:
        raise SystemExit(f"the quiet run ended with exit code {driver.returncode}; see {run.parent / run.name}.out")
    return time.perf_counter() - started, peaks


def killed(path: Path, run: Path, kills: int, mean_seconds: float, rng: np.random.Generator) -> dict[str, Any]:
    """The run with kills at random moments, driver, manager and worker in turn, resumed until it is done."""
    peaks = Peaks()
    done: Counter[str] = Counter()
    where: Counter[str] = Counter()
    resumed = 0
    started = time.perf_counter()
    driver = start(path, run)
    while True:
        moment = time.perf_counter() + float(rng.uniform(0.0, 2.0 * mean_seconds))
        while driver.poll() is None and (done.total() >= kills or time.perf_counter() < moment):
            peaks.look(run, driver)
            time.sleep(LOOK_SECONDS)
        if driver.poll() is None:
            role = ("driver", "manager", "worker")[done.total() % 3]
            victim = chosen(role, peaks.look(run, driver), driver, rng)
            if victim is None:  # that stage has none now: at the next moment
                continue
            where[stage_of(run)] += 1
            try:
                victim.kill()
            except psutil.NoSuchProcess:
                continue
            done[role] += 1
            if role != "driver":
                continue
        code = driver.wait()
        if code == 0:
            break
        if code != -signal.SIGKILL:
            raise SystemExit(f"the killed run ended with exit code {code}; see {run.parent / run.name}.out")
        resumed += 1
        driver = start(path, run)
    seconds = time.perf_counter() - started
    _, left = psutil.wait_procs(list(peaks.known.values()), timeout=END_SECONDS)
    orphans = [p for p in left if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    return {
        "kills": done.total(),
        "killed": dict(done),
        "killed_in": dict(where),
        "resumed": resumed,
        "seconds": round(seconds, 1),
        "processes_seen": len(peaks.known),
        "orphans": len(orphans),
    }


def chosen(role: str, family: list[psutil.Process], driver: psutil.Popen, rng: np.random.Generator) -> psutil.Process | None:
    """Whom to kill: the driver, Parsl's manager, or a process that a task runs in; None where there is no such process."""
    if role == "driver":
        return psutil.Process(driver.pid)
    word = "process_worker_pool" if role == "manager" else "spawn_main"
    found = []
    for process in family:
        try:
            if word in " ".join(process.cmdline()) and process.pid != driver.pid:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found[int(rng.integers(len(found)))] if found else None


def stage_of(run: Path) -> str:
    """What the run does now."""
    batch = next((b for b in RunFolder(run).subruns() if not b.passed()), RunFolder(run))
    record = batch.record().get("stages", {})
    return next((name for name in reversed(record) if record[name]["state"] == "running"), "between")


def rows_of(run: Path, peaks: Peaks) -> list[dict[str, Any]]:
    """A row for each batch, and one for the whole."""
    rows = []
    for part in (*RunFolder(run).subruns(), RunFolder(run)):
        name = part.path.name if part.path != run else "whole"
        stages = part.record()["stages"]
        report = json.loads(part.json("audit").read_text(encoding="utf-8"))
        rows.append(
            {
                "run": "quiet",
                "batch": name,
                "structures": len(open_dataset(part.path)),
                **{f"{stage}_seconds": round(entry["seconds"], 1) for stage, entry in stages.items()},
                "seconds": round(sum(entry["seconds"] for entry in stages.values()), 1),
                "driver_peak_bytes": peaks.driver[name],
                "all_processes_peak_bytes": peaks.everyone[name],
                "dataset_bytes": part.dataset.stat().st_size,
                "folder_bytes": sum(p.stat().st_size for p in part.path.rglob("*") if p.is_file()),
                "verdict": report["verdict"],
            }
        )
    return rows


def same(one: Path, other: Path) -> dict[str, Any]:
    """Whether two datasets, right by their checksums, hold the same."""
    first, second = open_dataset(one), open_dataset(other)
    faults = [*first.verify(), *second.verify()]
    sums = [json.loads(d.attributes["checksums"]) for d in (first, second)]
    return {
        "structures": len(second),
        "faults": len(faults),
        "same_ids": bool(np.array_equal(first.ids, second.ids)),
        "same_checksums": sums[0] == sums[1],
        "blocks": len(sums[0]),
        "identical": not faults and sums[0] == sums[1] and bool(np.array_equal(first.ids, second.ids)),
    }


def main() -> None:
    """Run, kill, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--structures", type=int, default=120_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--folder", type=Path, default=None, help="where the runs stand and stay; else a temporary folder")
    parser.add_argument("--seed", type=int, default=None, help="of the moments of the kills")
    asked = parser.parse_args()
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if asked.seed is None else asked.seed
    with tempfile.TemporaryDirectory() as temporary:
        folder = (asked.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        parsl = {"executor": "parsl", "workers_per_node": asked.workers, "heartbeat_seconds": 1}
        for name, execute in (("quiet", {"executor": "local"}), ("killed", parsl)):
            content = config(asked.structures, asked.workers, execute)
            (folder / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        seconds, peaks = quiet(folder / "quiet.yaml", folder / "quiet")
        rows = rows_of(folder / "quiet", peaks)
        rows[-1]["wall_seconds"] = round(seconds, 1)
        for row in rows:
            print({k: v for k, v in row.items() if k != "run"}, flush=True)
        if asked.kills:
            mean = seconds / (1.5 * asked.kills)  # so that the last one comes well before the end
            found = killed(folder / "killed.yaml", folder / "killed", asked.kills, mean, np.random.default_rng(seed))
            found |= same(folder / "quiet", folder / "killed")
            rows.append({"run": "killed", "batch": "whole", "seed": seed, **found})
            print(rows[-1], flush=True)
    small = "" if asked.structures == 120_000 else f"_{asked.structures}"
    print(write_results(f"production_120k{small}", rows, keep=("run", "batch")))


if __name__ == "__main__":
    main()
