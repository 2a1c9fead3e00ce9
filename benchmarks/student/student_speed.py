"""Speed of the student against orb, CHGNet, SevenNet and public networks of its own kind, side by side in one process.

    python -m benchmarks.student.student_speed [--threads 2] [--models NAME ...]
        [--systems NAME ...] [--modes single batch md]
    python -m benchmarks.student.student_speed --show benchmarks/results/student_speed.json

The protocol, the same for all:

- ASE ``Atoms`` in; energy, forces and stress (periodic only) out as NumPy arrays. Neighbour lists, graphs and conversions
  are inside the timer.
- Models take turns on a system, all of them in every round, so that a slow minute of the machine hits all of them.
- A turn begins with a call that is not counted, so that caches are warm; then calls are timed for ``--turn-seconds``. A call
  that is longer than a turn counts at once. Call k of every model has the same displacements of 0.05 Å.
- ``batch`` gives the 32 crystals in one call of the batch mode of each package.
- ``md`` is ASE's VelocityVerlet at 1 fs with the ASE calculator of each package and what that computes for it, the skin of
  its neighbour list included. Every step asks the model for forces and then moves the atoms by springs to their sites, at
  about 300 K: random weights would shoot the atoms into each other. So all models see the same trajectory.
- The ratio is the time of orb-v2 over that of the model; of orb-v2 eager and compiled the faster one counts.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from ase import Atoms
from benchmarks.lib.common import write_results
from benchmarks.lib.peers import Model
from benchmarks.lib.speed_tables import markdown_tables, print_tables
from benchmarks.lib.students import MODELS
from benchmarks.lib.systems import all_systems
from benchmarks.lib.timing import KEEP_FREED_MEMORY, Runner, evaluations, figures, md_steps, one_thread_count, restart_with

MODES = {
    "single": ("Si8", "Si64", "Si216", "Si512", "Si4096", "NaCl64", "NaCl216", "aspirin"),
    "batch": ("32 crystals",),
    "md": ("Si216", "NaCl216", "aspirin"),
}
REFERENCES = ("orb-v2", "orb-v2-compiled")
MEMORY_MARGIN = 1.3  # over the need that was measured


class SkippedError(Exception):
    """A model is not measured on a system, and the message says why."""


def measure(
    mode: str, system: str, structures: Sequence[Atoms], models: Sequence[Model], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Rows of one system: every model timed, or skipped with the reason."""
    atoms = sum(len(a) for a in structures)
    about = {"system": system, "atoms": atoms, "structures": len(structures), "mode": mode, "threads": options.threads}
    about |= {"keeps_freed_memory": options.keep_freed_memory, "load_average": round(os.getloadavg()[0], 2)}
    runners: dict[str, Runner] = {}
    skipped: dict[str, str] = {}
    for turn in range(options.rounds + 1):  # the first is warm-up
        for model in models:
            if model.name in skipped:
                continue
            try:
                if turn == 0:
                    runners[model.name] = _start(mode, structures, model, options.skip_above_seconds)
                elif runners[model.name].wants_a_turn(options.budget_seconds):
                    runners[model.name].turn(options.turn_seconds)
            except Exception as error:  # noqa: BLE001 - a model that fails on a system is a row, not the end
                skipped[model.name] = reason(error)
    medians = {name: float(np.median(runner.times)) for name, runner in runners.items() if name not in skipped}
    reference = min((name for name in REFERENCES if name in medians), key=medians.__getitem__, default=None)
    rows = []
    for model in models:
        row = {**about, "model": model.name, "package": model.package}
        row |= {"parameters": model.parameters, "weights": model.weights}
        if model.name in skipped:
            rows.append({**row, "skipped": skipped[model.name]})
        else:
            ratio = medians[reference] / medians[model.name] if reference else None
            rows.append({**row, **figures(runners[model.name].times), "ratio": ratio, "reference": reference})
    return rows


def _start(mode: str, structures: Sequence[Atoms], model: Model, limit_seconds: float) -> Runner:
    """A runner that made two calls; SkippedError where they would not fit into memory or took too long."""
    atoms = sum(len(a) for a in structures)
    needed, free = MEMORY_MARGIN * atoms * model.megabytes_per_atom / 1e3, psutil.virtual_memory().available / 1e9
    if needed > free:
        raise SkippedError(f"needs about {needed:.0f} GB of memory, {free:.0f} GB are free")
    runner = Runner(md_steps(model, structures[0]) if mode == "md" else evaluations(model, structures))
    quicker = min(runner.call(), runner.call())  # the first may compile
    if quicker > limit_seconds:
        raise SkippedError(f"one call takes {quicker:.0f} s, the limit is {limit_seconds:g} s")
    return runner


def reason(error: Exception) -> str:
    """One line on why something was skipped."""
    text = str(error) if isinstance(error, SkippedError) else f"{type(error).__name__}: {error}"
    return text.strip().split("\n")[0][:200]


def load_models(names: Sequence[str]) -> tuple[list[Model], dict[str, str]]:
    """Models that could be made, and for each other name the reason."""
    models, missing = [], {}
    for name in names:
        try:
            models.append(MODELS[name]())
        except Exception as error:  # noqa: BLE001 - whatever a package raises, the others can be measured
            missing[name] = reason(error)
        print(f"{name}: {missing.get(name, 'ready')}", file=sys.stderr)
    return models, missing


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--show", type=Path, help="print a result file as Markdown and measure nothing")
    parser.add_argument("--name", default="student_speed", help="name of the result file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), metavar="NAME", help=", ".join(MODELS))
    parser.add_argument("--systems", nargs="+", default=[], metavar="NAME", help="all where none is named")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--rounds", type=int, default=10, help="turns of each model on each system")
    parser.add_argument("--turn-seconds", type=float, default=0.5)
    parser.add_argument("--budget-seconds", type=float, default=60.0, help="of one model on one system; 3 times at least")
    parser.add_argument("--skip-above-seconds", type=float, default=60.0, help="models whose call takes longer are skipped")
    parser.add_argument("--keep-freed-memory", action="store_true", help="glibc returns no memory to the system, for all")
    return parser.parse_args()


def main() -> None:
    """Measure, write after every system, print."""
    options = _options()
    if options.show:
        print(markdown_tables(json.loads(options.show.read_text(encoding="utf-8"))["rows"]))
        return
    restart_with({**one_thread_count(options.threads), **(KEEP_FREED_MEMORY if options.keep_freed_memory else {})})
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")  # of many packages
    rows: list[dict[str, Any]] = []
    with redirect_stdout(sys.stderr):  # some packages print
        models, missing = load_models(options.models)
        rows += [{"model": name, "skipped": reason} for name, reason in missing.items()]
        systems = all_systems()
        for mode in options.modes:
            for system in MODES[mode]:
                if options.systems and system not in options.systems:
                    continue
                print(f"{mode} {system}", file=sys.stderr)
                rows += measure(mode, system, systems[system], models, options)
                path = write_results(options.name, rows)
    print_tables(rows)
    print(path)


if __name__ == "__main__":
    main()
