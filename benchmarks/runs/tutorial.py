"""The commands of the tutorial as a user types them: output, errors of 50 ps of MD, and the numbers of its pictures.

    python -m benchmarks.runs.tutorial [--folder DIR] [--ps 50]

A folder that is there goes on where it was: a finished step is kept in ``steps/``, and the run itself resumes. Results in
``results/tutorial.json``, which the pages and ``docs/pictures.py`` read. Lines that tell of progress within a stage are left
out of what was printed. Each step states its processor time beside its wall time, because a machine may do other work.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from benchmarks.lib.common import processor_seconds, write_results

TUTORIAL = Path(__file__).resolve().parents[2] / "examples" / "tutorial"
FORCES_KEPT = 600  # points of the parity picture, at random


def printed(folder: Path, *words: str) -> dict[str, Any]:
    """Run a command of the page in the folder, and return its lines, wall seconds and processor seconds."""
    python = words[0] == "python"
    command = [sys.executable, *(words[1:] if python else ("-m", *words))]
    begun, used = perf_counter(), processor_seconds()
    done = subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode not in {0, 3}:
        sys.exit(done.stdout)
    seconds = {"seconds": perf_counter() - begun, "processor_seconds": processor_seconds() - used}
    rounded = {name: round(value, 1) for name, value in seconds.items()}
    lines = [line.replace(f"{folder.resolve()}/", "") for line in done.stdout.splitlines()]
    return {"command": " ".join(words), "printed": lines, **rounded}


def step(folder: Path, name: str, *words: str) -> dict[str, Any]:
    """Run a command of the page, or return what it gave if the folder keeps it."""
    kept = folder / "steps" / f"{name}.json"
    if not kept.exists():
        row = {"step": name, **printed(folder, *words)}
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(json.dumps(row), encoding="utf-8")
    found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    return found


def of_stages(lines: list[str]) -> list[str]:
    """Return the lines that stay on a terminal: ends of stages, warnings, the verdict."""
    return [line for line in lines if " done " in line or " warnings of " in line or not line.startswith(("  ", *STAGES))]


STAGES = ("generate", "label", "audit", "train", "evaluate", "deploy")


def table(path: Path) -> dict[str, list[float]]:
    """Columns of a file that the production run wrote."""
    names = path.read_text(encoding="utf-8").splitlines()[0].split(",")
    return dict(zip(names, np.loadtxt(path, delimiter=",", skiprows=1).T.tolist(), strict=True))


def production(out: Path) -> dict[str, Any]:
    """Return the result and the numbers of the pictures in the folder of the production run."""
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    curves = {name: table(out / f"{name}.csv") for name in ("md", "rdf", "forces")}
    chosen = np.random.default_rng(1).permutation(len(curves["forces"]["teacher_ev_per_angstrom"]))[:FORCES_KEPT]
    curves["forces"] = {name: [column[k] for k in chosen] for name, column in curves["forces"].items()}
    return {"result": result, "curves": curves}


def main() -> None:
    """Run every command of the page, and keep what it printed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--folder", type=Path, help="where the run is kept; one that is there goes on")
    parser.add_argument("--ps", default="50")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch) / "silicon"
        shutil.copytree(TUTORIAL, folder, dirs_exist_ok=True)
        rows = [
            step(folder, "structures", "python", "structures.py"),
            step(folder, "check", "potstill", "check", "silicon.yaml"),
            step(folder, "plan", "potstill", "plan", "silicon.yaml"),
        ]
        resume = ["--resume"] if (folder / "run").exists() else []
        run = step(folder, "run", "potstill", "run", "silicon.yaml", "--out", "run", "--yes", *resume)
        rows.append({**run, "printed": of_stages(run["printed"])})
        md = step(folder, "production", "python", "production.py", "run", "--kelvin", "600", "--ps", options.ps)
        rows.append({**md, **production(folder / "production")})
    print(write_results("tutorial", rows))


if __name__ == "__main__":
    main()
