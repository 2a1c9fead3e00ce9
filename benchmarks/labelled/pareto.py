"""Accuracy against speed: shapes of the student and public networks, trained on the same data for the same time.

    python -m benchmarks.labelled.pareto DATASET [--minutes 5] [--at-once 2] [--candidates NAME ...] [--name pareto]
    python -m benchmarks.labelled.pareto DATASET --speed-again    # of the trained candidates in the result file

DATASET is a labelled and split ``dataset.h5``, as that of the template ``small_6k``. The protocol:

- Every candidate is trained in a process of its own on one thread, for so many minutes of that process's processor time:
  batches, optimiser and losses are those of ``small_6k``, the learning rate is the candidate's, its cosine ends with the
  time.
  A student is trained by its kernel (``FusedTraining``), a public network by PyTorch.
- Errors are those of the averaged weights. Shapes are chosen by ``valid``; ``test`` tells what the choice is worth.
- Speed is taken afterwards by ``timing.py``: all candidates in turn in one process, neighbour list inside the timer, energy,
  forces and stress of 216 atoms of rattled rock salt and of 32 held-out crystals in one call, by the fastest way of each.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.lib.candidates import CANDIDATES
from benchmarks.lib.common import RESULTS, write_results
from benchmarks.lib.peers import Model, seeded
from benchmarks.lib.systems import supercell
from benchmarks.lib.timing import KEEP_FREED_MEMORY, Runner, evaluations, figures, one_thread_count, restart_with
from torch.optim.swa_utils import get_ema_multi_avg_fn

from potstill.core.elements import symbols_of
from potstill.core.types import Structure
from potstill.dataset import Dataset, Records
from potstill.deploy.student import DeployedStudent
from potstill.stats.references import compositions, fit_reference_energies
from potstill.student.files import count_parameters
from potstill.student.fused import FusedTraining
from potstill.student.model import Student
from potstill.train.data import LabelledStructures
from potstill.train.losses import mean_errors
from potstill.train.options import TrainConfig
from potstill.train.sampler import BatchSampler

CUTOFF_ANGSTROM = 4.5
DOCS_IMAGES = RESULTS.parent.parent / "docs" / "images"
TRAINING = TrainConfig(energy_weight=5.0, weight_decay=0.02, batch_structures=16)
WARMUP_STEPS = 100
EVALUATION_BATCH = 32


def train(name: str, path: Path, minutes: float) -> dict[str, Any]:
    """Train one candidate; its row."""
    torch.set_num_threads(1)
    dataset = Dataset(path)
    training = [dataset[int(k)] for k in dataset.split("train")]
    elements = known_elements(training)
    model, averaged = (initial(name, elements) for _ in range(2))
    _, amounts, energy = compositions(Records.of(training))
    model.reference_energies.copy_(torch.from_numpy(fit_reference_energies(amounts, energy)))
    averaged.load_state_dict(model.state_dict())
    averaged.requires_grad_(requires_grad=False)
    data = LabelledStructures(Records.of(training), CUTOFF_ANGSTROM)
    batches = BatchSampler(data.sizes, TRAINING.batch_structures, seed=CANDIDATES[name].seed)
    highest = CANDIDATES[name].learning_rate
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=highest, weight_decay=TRAINING.weight_decay, betas=(0.9, 0.99), fused=True
    )
    kernel = FusedTraining(model) if CANDIDATES[name].ours else None
    started, step, atoms, recent = time.process_time(), 0, 0, []
    while (progress := (time.process_time() - started) / (60 * minutes)) < 1:
        if step % len(batches) == 0:
            order = list(batches.of_epoch(step // len(batches)))
        for group in optimizer.param_groups:
            group["lr"] = highest * min(1.0, (step + 1) / WARMUP_STEPS) * (0.5 + 0.5 * math.cos(math.pi * progress))
        batch = data[order[step % len(batches)]]
        errors = mean_errors(model.predict(batch.inputs, training=True, kernel=kernel), batch)
        loss = (
            TRAINING.energy_weight * errors["energy"]
            + TRAINING.forces_weight * errors["forces"]
            + TRAINING.stress_weight * errors["stress"]
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), TRAINING.clip_gradient)
        optimizer.step()
        step += 1
        decay = min(TRAINING.ema_decay, (1 + step) / (10 + step))
        get_ema_multi_avg_fn(decay)(list(averaged.parameters()), list(model.parameters()), 0)
        atoms += len(batch.inputs.atomic_numbers)
        recent = [*recent[-len(batches) + 1 :], float(errors["forces"].detach())]
    spent = time.process_time() - started
    row = {"candidate": name, "ours": CANDIDATES[name].ours, "parameters": count_parameters(model), "minutes": minutes}
    row |= {"epochs": round(step / len(batches), 1), "trained_atoms_per_second": round(atoms / spent)}
    row |= {"train_forces_ev_per_angstrom": round(float(np.mean(recent)), 4)}
    for part in ("valid", "test"):
        known = [
            s for s in (dataset[int(k)] for k in dataset.split(part)) if set(s.atomic_numbers.tolist()) <= set(elements)
        ]
        row |= {f"{part}_{what}": value for what, value in held_out_errors(averaged, known).items()}
    return row


def held_out_errors(model: Student, structures: list[Structure]) -> dict[str, float]:
    """Mean absolute error of the energy, mean length of the force error, mean absolute error of the stress."""
    data = LabelledStructures(Records.of(structures), CUTOFF_ANGSTROM)
    order = np.argsort(data.edges_per_atom, kind="stable").tolist()
    energy, forces, stress = [], [], []
    for start in range(0, len(order), EVALUATION_BATCH):
        batch = data[order[start : start + EVALUATION_BATCH]]
        predicted = model.predict(batch.inputs)
        energy += ((predicted.energy - batch.energy) / batch.inputs.ptr.diff()).abs().tolist()
        forces += (predicted.forces - batch.forces).norm(dim=1).tolist()
        stress += (predicted.stress - batch.stress).abs().mean((1, 2))[batch.has_stress].tolist()
    return {
        "energy_mev_per_atom": round(1e3 * float(np.mean(energy)), 2),
        "forces_ev_per_angstrom": round(float(np.mean(forces)), 4),
        "stress_mev_per_angstrom3": round(1e3 * float(np.mean(stress)), 3),
    }


def initial(name: str, elements: list[int]) -> Student:
    """A candidate with initial weights, the same in every run."""
    with seeded(CANDIDATES[name].seed):
        return CANDIDATES[name].make(elements, CUTOFF_ANGSTROM)


def known_elements(structures: list[Structure]) -> list[int]:
    """Atomic numbers in order."""
    return sorted(set(np.concatenate([s.atomic_numbers for s in structures]).tolist()))


def measure_speed(names: list[str], path: Path, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Seconds of each candidate on each system, taken in turn."""
    torch.set_num_threads(options.threads)
    dataset = Dataset(path)
    elements = known_elements([dataset[int(k)] for k in dataset.split("train")])
    held_out = [dataset[int(k)] for k in dataset.split("test")]
    crystals = [s.to_ase() for s in held_out if s.pbc.all() and set(s.atomic_numbers.tolist()) <= set(elements)]
    systems = {"NaCl216": [supercell("NaCl", 216)], "batch": sorted(crystals, key=len)[-EVALUATION_BATCH:]}
    models = [_timed(name, elements) for name in names]
    found: dict[str, dict[str, Any]] = {name: {} for name in names}
    for system, structures in systems.items():
        runners = {model.name: Runner(evaluations(model, structures)) for model in models}
        for _ in range(options.rounds):
            for runner in runners.values():
                runner.turn(options.turn_seconds)
        atoms = sum(len(a) for a in structures)
        for name, runner in runners.items():
            seconds = figures(runner.times)["seconds"]
            found[name] |= {f"{system}_seconds": seconds, f"{system}_microseconds_per_atom": 1e6 * seconds / atoms}
    return found


def _timed(name: str, elements: list[int]) -> Model:
    student = initial(name, elements).eval().requires_grad_(requires_grad=False)
    backend = "fused" if CANDIDATES[name].ours else "torch"
    deployed = DeployedStudent(student, {"elements": symbols_of(elements)}, backend=backend)

    def evaluate(structures: Any) -> Any:
        return [(x.energy, x.forces, x.stress) for x in deployed.label([Structure.from_ase(a) for a in structures])]

    return Model(name, "potstill", deployed.parameters, "random", evaluate, deployed.calculator)


def held_out(row: dict[str, Any]) -> float:
    """Force error over ``valid`` and ``test``: chance is larger in either."""
    return float(row["valid_forces_ev_per_angstrom"] + row["test_forces_ev_per_angstrom"]) / 2


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """The front: force error against speed, both axes logarithmic, the best towards the lower right."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    points = [(1e6 / row["NaCl216_microseconds_per_atom"], held_out(row), row) for row in rows]
    for ours, color, label in (
        (True, "tab:blue", "potstill, fused kernel"),
        (False, "tab:orange", "public networks, PyTorch"),
    ):
        chosen = [p for p in points if p[2]["ours"] is ours]
        axes.scatter([p[0] for p in chosen], [p[1] for p in chosen], color=color, label=label, zorder=3)
    for speed, error, row in points:
        left = row["candidate"].startswith(("base", "small", "nano, 3"))  # where others are close on the right
        axes.annotate(
            row["candidate"],
            (speed, error),
            xytext=(-6 if left else 6, -3),
            ha="right" if left else "left",
            textcoords="offset points",
            fontsize=7.5,
        )
    front = sorted(p[:2] for p in points if not any(q[0] > p[0] and q[1] < p[1] for q in points))
    axes.plot(*zip(*front, strict=True), color="0.6", linestyle="--", linewidth=1, label="front")
    axes.set(
        xscale="log", yscale="log", xlabel="atoms per second (216 atoms of NaCl; energy, forces and stress; two threads)"
    )
    axes.set_xlim(1500, 2.0 * max(p[0] for p in points))
    axes.set_ylabel("mean force error on held-out families (eV/Å)")
    for axis, digits in ((axes.xaxis, "{x:,.0f}"), (axes.yaxis, "{x:.2f}")):
        axis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5) if axis is axes.xaxis else range(1, 10)))
        axis.set_minor_locator(mpl.ticker.NullLocator())
        axis.set_major_formatter(mpl.ticker.StrMethodFormatter(digits))
    axes.yaxis.set_major_locator(mpl.ticker.MultipleLocator(0.05))
    axes.grid(visible=True, alpha=0.25)
    axes.set_title(f"Trained on the same structures for {rows[0]['minutes']:g} processor minutes each", fontsize=10)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def markdown(rows: list[dict[str, Any]]) -> str:
    """Table for the docs."""
    lines = [
        "| | parameters | epochs | atoms/s in training | train | valid | test | atoms/s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        errors = " | ".join(f"{row[f'{part}_forces_ev_per_angstrom']:.2f}" for part in ("train", "valid", "test"))
        figures = f"{row['parameters'] / 1e6:.2f} million | {row['epochs']:.0f} | {row['trained_atoms_per_second']:,}"
        speed = 1e6 / row["NaCl216_microseconds_per_atom"]
        lines.append(f"| {row['candidate']} | {figures} | {errors} | {speed:,.0f} |")
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--minutes", type=float, default=5.0, help="processor time of each training")
    parser.add_argument("--at-once", type=int, default=2, help="trainings at the same time, each on one thread")
    parser.add_argument("--candidates", nargs="+", choices=CANDIDATES, default=list(CANDIDATES), metavar="NAME")
    parser.add_argument("--threads", type=int, default=2, help="while speed is measured")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--turn-seconds", type=float, default=0.5)
    parser.add_argument("--speed-again", action="store_true", help="measure only the speed again")
    parser.add_argument("--name", default="pareto", help="name of the result file and the plot")
    parser.add_argument("--train", choices=CANDIDATES, help=argparse.SUPPRESS)  # one candidate, its row to this file
    parser.add_argument("--row", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Train all candidates, measure their speed, write the rows and the plot."""
    options = _options()
    warnings.simplefilter("ignore")  # of the public packages
    if options.train:
        restart_with({**one_thread_count(1), **KEEP_FREED_MEMORY})
        options.row.write_text(json.dumps(train(options.train, options.dataset, options.minutes)), encoding="utf-8")
        return
    restart_with({**one_thread_count(options.threads), **KEEP_FREED_MEMORY})
    with tempfile.TemporaryDirectory() as folder:

        def trained(name: str) -> dict[str, Any]:
            row = Path(folder) / f"{list(CANDIDATES).index(name)}.json"
            arguments = [str(options.dataset), "--minutes", str(options.minutes), "--train", name, "--row", str(row)]
            subprocess.run([sys.executable, "-m", __spec__.name, *arguments], check=True)
            found: dict[str, Any] = json.loads(row.read_text(encoding="utf-8"))
            print(json.dumps(found), file=sys.stderr, flush=True)
            return found

        if options.speed_again:
            rows = json.loads((RESULTS / f"{options.name}.json").read_text(encoding="utf-8"))["rows"]
        else:
            with ThreadPoolExecutor(options.at_once) as pool:
                rows = list(pool.map(trained, options.candidates))
    speeds = measure_speed([row["candidate"] for row in rows], options.dataset, options)
    rows = [{**row, **speeds[row["candidate"]]} for row in rows]
    print(write_results(options.name, rows))
    print(markdown(rows))
    draw(rows, DOCS_IMAGES / f"{options.name}.png")


if __name__ == "__main__":
    main()
