"""Train the student ``general`` and measure its errors on held-out families.

    python -m benchmarks.labelled.general DATASET FOLDER [--epochs 40] [--start STUDENT [--share 0.5]] [--judge OTHER]
        [--optimizer muon] [--refit] [--ship]

DATASET is a labelled and split ``dataset.h5``, as ``potstill run production_120k.yaml --last audit`` writes it, or that
of its first batches. FOLDER receives the student; a training that was stopped goes on there. Student and training are those
of the template ``production_120k``, but for larger batches and a larger weight of the energies in the second half.
``--start general`` goes on from the student of the package with other labels, at half the learning rate. Its labels count
too, for a family keeps its side of the split. ``--start FOLDER`` goes on from an earlier call whose structures DATASET has
too. Errors on ``test`` by source and element go to ``results/general_trials.json``. ``--judge OTHER`` leaves only structures
there, and among those that expected errors are fitted to, that another file has too: one of the template's own mix, where
DATASET has more of what is cheap. The split is that of DATASET. ``--refit`` fits expected errors again and leaves the
weights. ``--ship`` puts the student and its model card into the package, and the row into ``results/general.json``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any, get_args

import numpy as np
import torch
from ase.data import chemical_symbols
from benchmarks.lib.common import RESULTS, write_results
from benchmarks.lib.held_out import HeldOut, errors, predictable

from potstill import __version__
from potstill.config import load_config
from potstill.core.files import write_json
from potstill.core.types import Array, Structure
from potstill.dataset import Dataset, Selection
from potstill.dataset.schema import PARTS
from potstill.deploy.student import DeployedStudent, load_student
from potstill.student.files import count_parameters, read_student, save_student
from potstill.student.shipped import student_folder
from potstill.student.uncertainty import judge, save_uncertainty
from potstill.train.job import TrainJob
from potstill.train.options import RATES, Optimizer
from potstill.train.provenance import stated
from potstill.train.stage import train
from potstill.train.start import starting_student
from potstill.train.uncertainty import fit_uncertainty

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "src" / "potstill" / "templates" / "production_120k.yaml"
PACKAGE = ROOT / "src" / "potstill" / "student" / "weights" / "general"
SEEN = 2000
AT_ONCE = 64  # structures
FEWEST_ATOMS = 50  # of an element that is judged
LATE_WEIGHTS = {"energy": 20.0}
BATCH = 64  # structures
JUDGED = "structures of another file"
KEY = ("labels", "share_of_last_training", "elements_start")  # of a row; an earlier one had elements that start apart
CARD = Path(__file__).with_name("general_card.md")


def main() -> None:
    """Train where that is not done, and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, help="passes over the training families; those of the template by default")
    parser.add_argument("--start", default="", help="student to go on from; random weights by default")
    parser.add_argument(
        "--share", type=float, default=1.0, help="share of the weights of this training in a mean with its start"
    )
    parser.add_argument("--optimizer", choices=get_args(Optimizer), default="adamw")
    parser.add_argument("--batch-structures", type=int, default=BATCH, help="more where structures are small")
    parser.add_argument("--judge", type=Path, help="dataset whose structures judge; DATASET by default")
    parser.add_argument("--refit", action="store_true", help="fit expected errors again instead of a training")
    parser.add_argument("--ship", action="store_true", help="put the student and its model card into the package")
    options = parser.parse_args()
    dataset, config = Dataset(options.dataset), load_config(CONFIG)
    changed = {"epochs": options.epochs or config.train.epochs, "late_weights": LATE_WEIGHTS}
    changed |= {"batch_structures": options.batch_structures}
    section = config.train.model_copy(update={**changed, "optimizer": options.optimizer})
    if options.start:  # at half the rate of a training from random weights
        section = section.model_copy(update={"start": options.start, "learning_rate": RATES[options.optimizer][0] / 2})
    start = starting_student(options.start, dataset.select("train")) if options.start else None
    job = TrainJob.on(dataset, config.student, section, options.folder, seed=config.seed, start=start)
    parts = parts_in(dataset, options.judge)
    fitted = (Selection(dataset, parts[name]) for name in ("train", "valid"))
    of_judge = replace(job, **dict(zip(("training", "watching"), fitted, strict=True)))
    if options.refit:
        refit(of_judge)
    elif stated(options.folder) != job.made_from():
        started = perf_counter()
        train(job, on_epoch=_say, provenance=_origin(dataset, section.epochs, options.start))
        print(f"trained for {perf_counter() - started:.0f} s", file=sys.stderr)
        if options.judge:
            refit(of_judge)
    folder = averaged(of_judge, options.share) if options.share < 1 else options.folder
    row = _row(dataset, parts, folder, section.epochs, options.start)
    row["share_of_last_training"] = options.share
    if options.judge:
        row["judged_on"] = JUDGED
    print(write_results("general" if options.ship else "general_trials", [row], keep=KEY))
    if options.ship:
        ship(folder, row)


def parts_in(dataset: Dataset, other: Path | None) -> dict[str, Array]:
    """Return the indices of each part of the split; only those that another file has too, by their energies."""
    kept = np.ones(len(dataset), bool)
    if other is not None:
        kept = np.isin(dataset.column("structures/energy"), Dataset(other).column("structures/energy"))
    return {name: np.flatnonzero(kept & (dataset.splits == k)) for k, name in enumerate(PARTS)}


def averaged(job: TrainJob, share: float) -> Path:
    """Write the mean of the weights before and after a training, and return its folder.

    Weights that go on from each other lie in one basin, and their mean is often better on what neither saw (Wortsman et al.,
    CVPR 2022).
    """
    folder = job.folder.with_name(f"{job.folder.name}_{share:g}")
    student, facts = read_student(job.folder)
    if job.start is None:
        raise SystemExit("--share needs --start")
    before = job.start.state_dict()
    with torch.no_grad():
        for name, after in student.state_dict().items():
            if after.is_floating_point():
                after.lerp_(before[name].to(after), 1 - share)
    kept = {name: value for name, value in facts.items() if name not in ("checksum", "uncertainty")}
    save_student(student, folder, {**kept, "share_of_last_training": share})
    refit(replace(job, folder=folder))
    return folder


def _before(start: str, this: dict[str, int]) -> dict[str, Any]:
    """Return the row of the shipped student that a training goes back to; one without labels where that is none."""
    shipped = json.loads((RESULTS / "general.json").read_text(encoding="utf-8"))["rows"]
    none = {"labels": 0, "trained_on": 0, "trainings": [], "pure_elements_not_trained_on": chemical_symbols}
    if start == "general":
        found: dict[str, Any] = max(
            (r for r in shipped if this not in r.get("trainings", ())), key=lambda r: int(r["labels"])
        )
        only = {name: found[name] for name in this if name in found}
        return {"trainings": [only], **found}
    trainings = _trainings_of(start) if start else []
    of = [r for r in shipped if _begins_with(trainings, r.get("trainings", ()))]
    return {**max(of, key=lambda row: len(row["trainings"]), default=none), "trainings": trainings}


def _begins_with(trainings: Sequence[dict[str, int]], others: Sequence[dict[str, int]]) -> bool:
    """Return whether there are others, and they come first."""
    return len(others) > 0 and list(trainings[: len(others)]) == list(others)


def refit(job: TrainJob) -> None:
    """Fit the expected errors of a student in the job's folder again."""
    student, facts = read_student(job.folder)
    found, figures = fit_uncertainty(student, job.training, job.watching, backend=job.config.backend, seed=job.seed)
    checksum = save_uncertainty(found, job.folder)
    write_json(job.folder / "config.json", {**facts, "uncertainty": {**figures, **checksum}})


def ship(folder: Path, row: dict[str, Any]) -> None:
    """Copy a student into the package and write its model card."""
    PACKAGE.mkdir(parents=True, exist_ok=True)
    for name in ("weights.safetensors", "config.json", "uncertainty.safetensors"):
        shutil.copyfile(folder / name, PACKAGE / name)
    (PACKAGE / "README.md").write_text(card(row), encoding="utf-8")


def card(row: dict[str, Any]) -> str:
    """Return the model card of a row of ``general.json`` as Markdown."""
    sources = "\n".join(
        f"| {name} | {of['structures']} | {100 * of['of_mean_force']:.0f} | {100 * of['seen_of_mean_force']:.0f} | "
        f"{of['energy_mev_per_atom']:.0f} |"
        for name, of in sorted(row["per_source"].items(), key=lambda item: item[1]["of_mean_force"])
        if of["seen_of_mean_force"] is not None
    )
    elements = sorted(row["per_element"].items(), key=lambda item: item[1]["of_mean_force"])
    named = [f"{symbol} {100 * of['of_mean_force']:.0f}" for symbol, of in elements]
    percent = {name: 100 * row[name] for name in ("of_mean_force", "seen_of_mean_force")}
    return CARD.read_text(encoding="utf-8").format(
        **{**row, **percent, "trainings": _trainings(row)},
        millions=row["parameters"] / 1e6,
        sources=sources,
        pure=_pure_line(row["pure_elements_not_trained_on"]),
        within_bound=100 * row["uncertainty"]["within_bound"],
        auroc=row["uncertainty"]["auroc_large"],
        best=", ".join(named[:15]),
        worst=", ".join(named[-20:]),
    )


def _pure_line(symbols: Sequence[str]) -> str:
    """Return a line of the list of what to avoid; empty where something pure of each element was trained on."""
    return f"- Pure {', '.join(symbols)}: nothing pure of these elements was trained on.\n" if symbols else ""


def _trainings(row: dict[str, Any]) -> str:
    """Return the trainings as text, in order."""
    return ", then ".join(f"{t['epochs']} passes over {t['trained_on']:,} structures" for t in row["trainings"])


def _say(epoch: int, report: dict[str, float]) -> None:
    print(epoch, json.dumps({name: round(value, 4) for name, value in report.items()}), file=sys.stderr, flush=True)


def _this(dataset: Dataset, epochs: int) -> dict[str, int]:
    return {"labels": len(dataset), "trained_on": len(dataset.split("train")), "epochs": epochs}


def _trainings_of(start: str) -> list[dict[str, int]]:
    """Return the trainings that a student of this script states; none for another."""
    trainings: list[dict[str, int]] = read_student(student_folder(start))[1].get("trainings", [])
    return trainings


def _origin(dataset: Dataset, epochs: int, start: str) -> dict[str, Any]:
    return {
        "trainings": [*(_trainings_of(start) if start else ()), _this(dataset, epochs)],
        "dataset": json.loads(dataset.attributes["checksums"]),
        "teacher": json.loads(dataset.attributes["teacher"]),
        "potstill": __version__,
    }


def _row(dataset: Dataset, parts: dict[str, Array], folder: Path, epochs: int, start: str) -> dict[str, Any]:
    student, facts = read_student(folder)
    known = set(student.architecture.atomic_numbers)
    test = np.intersect1d(predictable(dataset, "test", student), parts["test"])
    seen = parts["train"][:: max(1, len(parts["train"]) // SEEN)]
    of_seen = errors(student, HeldOut(dataset.gather(seen), dataset.sources[seen]))
    judging = HeldOut(dataset.gather(test), dataset.sources[test])
    held_out = errors(student, judging)
    started = errors(read_student(student_folder(start))[0], judging) if start else {}
    for source, figures in held_out["per_source"].items():
        figures["seen_of_mean_force"] = of_seen["per_source"].get(source, {}).get("of_mean_force")
    this = _this(dataset, epochs)
    before = _before(start, this)
    return {
        "labels": before["labels"] + len(dataset),
        "trained_on": before["trained_on"] + len(dataset.split("train")),
        "trainings": [*before["trainings"], this],
        **({} if start else {"elements_start": "alike"}),
        "elements": len(known),
        "teacher": facts["teacher"]["name"],
        "parameters": count_parameters(student),
        "held_out": len(test),
        **{f"start_{name}": started[name] for name in ("of_mean_force", "energy_mev_per_atom") if started},
        "pure_elements_not_trained_on": [
            symbol for symbol in _pure_elements(dataset, known) if symbol in before["pure_elements_not_trained_on"]
        ],
        "seen_of_mean_force": of_seen["of_mean_force"],
        "seen_energy_mev_per_atom": of_seen["energy_mev_per_atom"],
        **held_out,
        **_of_atoms(load_student(folder), [dataset[k] for k in test]),
    }


def _pure_elements(dataset: Dataset, known: set[int]) -> list[str]:
    """Return the symbols of the elements of which nothing pure was trained on."""
    found = (set(dataset[int(k)].atomic_numbers.tolist()) for k in dataset.split("train"))
    trained = {z for numbers in found if len(numbers) == 1 for z in numbers}
    return [chemical_symbols[z] for z in sorted(known - trained)]


def _of_atoms(student: DeployedStudent, structures: list[Structure]) -> dict[str, Any]:
    """Return the force error of each element over the mean length of its forces, and the figures of expected errors."""
    answers = []
    for start in range(0, len(structures), AT_ONCE):
        answers += student.label(structures[start : start + AT_ONCE], uncertainty=True)
    numbers = np.concatenate([s.atomic_numbers for s in structures])
    forces = np.concatenate([s.labels.forces for s in structures if s.labels is not None])
    off = np.linalg.norm(np.concatenate([a.forces for a in answers]) - forces, axis=1)
    length = np.linalg.norm(forces, axis=1)
    found = {}
    for z in np.unique(numbers).tolist():
        its = numbers == z
        if its.sum() >= FEWEST_ATOMS:
            share = float(off[its].sum() / length[its].sum())
            found[chemical_symbols[z]] = {"of_mean_force": round(share, 4), "atoms": int(its.sum())}
    known = student.uncertainty
    if known is None:
        return {"per_element": found}
    expected = np.concatenate([a.extra["uncertainty"] for a in answers])
    judged = judge(expected, off, float(known.threshold), float(known.bound))
    return {"per_element": found, "uncertainty": {name: judged[name] for name in ("auroc_large", "bound", "within_bound")}}


if __name__ == "__main__":
    main()
