"""``kill -9`` at random moments of a run, then ``--resume``: the dataset must be that of a run nobody disturbed.

    python benchmarks/kill_resume.py [KILLS]

Takes the sources and the teacher of the quickstart with small counts and few epochs, runs it undisturbed, then once
more while its process group is killed at random moments and resumed each time. Every array of the two ``dataset.h5`` is
compared byte by byte. Writes ``benchmarks/results/kill_resume.json``.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import yaml
from common import write_results

ROOT = Path(__file__).resolve().parent.parent
COUNTS = {"molecules": 60, "crystals": 80, "benchmark": 60, "perturb": 120}
EPOCHS = 3
SEED = 7


def small_config(folder: Path) -> Path:
    """The quickstart with fewer structures; its diversity gates cannot hold for so few, so they are lowered."""
    config = yaml.safe_load((ROOT / "configs" / "quickstart.yaml").read_text(encoding="utf-8"))
    for source in config["generate"]["sources"]:
        source["count"] = COUNTS[source["source"]]
    config["train"]["epochs"] = EPOCHS
    config["audit"] = {"min_element_entropy_bits": 2.0, "min_teacher_success": 0.5}
    config["evaluate"] = {"nve_ps": 0.05, "speed_repeats": 1}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def start(config: Path, run: Path) -> subprocess.Popen[bytes]:
    """A run in a process group of its own."""
    command = [sys.executable, "-m", "potstill", "run", str(config), "--out", str(run), "--yes", "--resume"]
    return subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)


def differences(a: Path, b: Path) -> list[str]:
    """Names of the HDF5 datasets that are not the same, byte by byte."""
    with h5py.File(a, "r") as one, h5py.File(b, "r") as two:
        names: list[str] = []
        one.visititems(lambda name, node: names.append(name) if isinstance(node, h5py.Dataset) else None)
        return [name for name in names if name not in two or not _same(one[name][:], two[name][:])]


def _same(a: Any, b: Any) -> bool:
    return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def main() -> int:
    """Run undisturbed, run disturbed, compare."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    rng = random.Random(SEED)  # noqa: S311 - moments, not secrets
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        config = small_config(folder)
        started = time.perf_counter()
        if start(config, folder / "calm").wait() != 0:
            print("the undisturbed run failed")
            return 1
        length = time.perf_counter() - started
        rows = []
        disturbed = folder / "disturbed"
        for kill in range(kills):
            process = start(config, disturbed)
            moment = rng.uniform(0.02, 0.5) * length
            try:
                process.wait(moment)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            rows.append({"kill": kill + 1, "after_s": round(moment, 2), "finished_before": process.returncode == 0})
        last = start(config, disturbed).wait()
        differ = differences(folder / "calm" / "dataset.h5", disturbed / "dataset.h5")
        rows.append({"undisturbed_s": round(length, 1), "exit_code_after_last_resume": last, "different_arrays": differ})
        print(rows[-1])
        print(write_results("kill_resume", rows))
        return 0 if last == 0 and not differ else 1


if __name__ == "__main__":
    sys.exit(main())
