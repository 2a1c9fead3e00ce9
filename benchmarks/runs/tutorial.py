"""The commands of the tutorial as a user types them: output, errors of 50 ps of MD, and the numbers of its pictures.

    python -m benchmarks.runs.tutorial [--folder DIR] [--ps 50]

A folder that is there goes on where it was. Results in ``results/tutorial.json``, which the pages and ``docs/pictures.py``
read. Lines that tell of progress within a stage are left out of what was printed.
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
from benchmarks.lib.common import write_results

TUTORIAL = Path(__file__).resolve().parents[2] / "examples" / "tutorial"
FORCES_KEPT = 600  # points of the parity picture, at random


def printed(folder: Path, *words: str) -> dict[str, Any]:
    """Run a command of the page in the folder, and return its lines and wall seconds."""
    python = words[0] == "python"
    command = [sys.executable, *(words[1:] if python else ("-m", *words))]
    begun = perf_counter()
    done = subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode not in {0, 3}:
        sys.exit(done.stdout)
    return {"command": " ".join(words), "printed": done.stdout.splitlines(), "seconds": round(perf_counter() - begun, 1)}


def of_stages(lines: list[str]) -> list[str]:
    """Return the lines that stay on a terminal: ends of stages, warnings, the verdict."""
    return [line for line in lines if " done " in line or not line.startswith(("  ", *STAGES))]


STAGES = ("generate", "label", "audit", "train", "evaluate", "deploy")


def table(path: Path) -> dict[str, list[float]]:
    """Columns of a file that the production run wrote."""
    names = path.read_text(encoding="utf-8").splitlines()[0].split(",")
    return dict(zip(names, np.loadtxt(path, delimiter=",", skiprows=1).T.tolist(), strict=True))


def main() -> None:
    """Run every command of the page, and keep what it printed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--folder", type=Path, help="where the run is kept; one that is there goes on")
    parser.add_argument("--ps", default="50")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch) / "silicon"
        shutil.copytree(TUTORIAL, folder, dirs_exist_ok=True)
        rows: list[dict[str, Any]] = [
            {"step": "structures", **printed(folder, "python", "structures.py")},
            {"step": "check", **printed(folder, "potstill", "check", "silicon.yaml")},
            {"step": "plan", **printed(folder, "potstill", "plan", "silicon.yaml")},
        ]
        resume = ["--resume"] if (folder / "run").exists() else []
        run = printed(folder, "potstill", "run", "silicon.yaml", "--out", "run", "--yes", *resume)
        rows.append({"step": "run", **run, "printed": of_stages(run["printed"])})
        step = printed(folder, "python", "production.py", "run", "--kelvin", "600", "--ps", options.ps)
        result = json.loads((folder / "production" / "result.json").read_text(encoding="utf-8"))
        curves = {name: table(folder / "production" / f"{name}.csv") for name in ("md", "rdf", "forces")}
        chosen = np.random.default_rng(1).permutation(len(curves["forces"]["teacher_ev_per_angstrom"]))[:FORCES_KEPT]
        curves["forces"] = {name: [column[k] for k in chosen] for name, column in curves["forces"].items()}
        rows.append({"step": "production", **step, "result": result, "curves": curves})
    print(write_results("tutorial", rows))


if __name__ == "__main__":
    main()
