"""Facts for the first part of the page of a run: what the student may be used for, how it is loaded, how fast it is.

The functions take a run folder with what was read from it, and return texts and rows for the template.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

import numpy as np

from potstill.active_learning.advice import how_it_broke
from potstill.core.counts import several
from potstill.core.errors import PotstillError
from potstill.core.files import read_json
from potstill.core.units import MILLI
from potstill.dataset import Dataset
from potstill.deploy.commands import COMMANDS
from potstill.report.page import figure
from potstill.run import facts
from potstill.run.facts import round_reports
from potstill.run.folder import RunFolder


def domain_sentences(run: RunFolder, data: Dataset | None) -> list[str]:
    """Return sentences on the elements and the domain of the student, or of the data where there is no student yet."""
    if data is None or not len(data):
        return []
    student = student_config(run)
    elements = student.get("elements") or _elements(data)
    knows = "knows" if student else "will know"
    found = [f"The student {knows} {several(len(elements), 'element')}: {', '.join(elements)}. It refuses any other."]
    sizes = np.diff(data.ptr)
    size = f"{sizes.min()}" if sizes.min() == sizes.max() else f"{sizes.min()} to {sizes.max()}"
    sources = ", ".join(sorted(set(data.sources.tolist())))
    kinds = _kinds(data)
    found.append(f"Its data are {several(len(data), 'structure')} of {size} atoms ({kinds}) from {sources}.")
    if student:
        found += _start_sentences(run, student, data)
    grown = max(run.active_learning.glob("[0-9][0-9]/dataset.h5"), default=None)
    if student and grown is not None:
        with suppress(PotstillError):
            learned = len(Dataset(grown).split("train"))
            found.append(f"With frames of its own MD, it learned from {several(learned, 'structure')}.")
    if closest := (student.get("domain") or {}).get("closest_angstrom"):
        pair = min(closest, key=lambda name: float(closest[name]))
        most = student["domain"]["most_neighbors"]
        cutoff = student["architecture"]["cutoff_angstrom"]
        found.append(
            f"It saw {several(len(closest), 'pair')} of elements, none closer than {closest[pair]:.2f} Å ({pair}), "
            f"and {most} neighbors at most within its cutoff of {cutoff:g} Å. Do not trust it outside: the log warns there."
        )
    return found


def _start_sentences(run: RunFolder, student: dict[str, Any], data: Dataset) -> list[str]:
    """Return sentences on the start of a fine-tuning, on replayed data, and on the elements that only those have."""
    name = (run.stage("train").get("made_from") or {}).get("train", {}).get("start")
    start = f"the student {name}" if name else "another student"
    replay = student.get("replay")
    if not replay:
        went_on = (student.get("made_from") or {}).get("start") is not None
        return [f"It was trained on from {start}."] if went_on else []
    replayed = f"{several(replay['each_epoch'], 'replayed structure')} besides, of other data (train.replay)"
    found = [f"It was trained on from {start}. Each epoch had {replayed}."]
    if {"forces_before", "forces_after", "energy_before", "energy_after"} <= replay.keys():
        energies = [f"{figure(MILLI * replay[f'energy_{when}'])} meV/atom" for when in ("before", "after")]
        forces = [f"{figure(replay[f'forces_{when}'])} eV/Å" for when in ("before", "after")]
        found.append(
            f"On {several(replay['held_out'], 'held-out structure')} of those, its force error is {forces[1]}, that of the "
            f"start was {forces[0]}; its energy error is {energies[1]}, that of the start was {energies[0]}."
        )
    own = set(_elements(data))
    if lacking := [symbol for symbol in student.get("elements", []) if symbol not in own]:
        found.append(
            f"It knows {several(len(lacking), 'element')} by replay alone: {', '.join(lacking)}. "
            "No gate of the evaluation looked at these, for its own data lack them."
        )
    return found


def student_config(run: RunFolder) -> dict[str, Any]:
    """Return ``student/config.json``; empty where it is missing or damaged."""
    path = run.student / "config.json"
    try:
        found: dict[str, Any] = read_json(path, "train again") if path.is_file() else {}
    except PotstillError:
        return {}
    return found


def load_code(run: RunFolder) -> str:
    """Return Python code that loads the student as a calculator, with the path that works where the run was started."""
    if not (run.student / "weights.safetensors").is_file():
        return ""
    return (
        "import potstill\n\n"
        f'calculator = potstill.load_student("{path_of_user(run)}/student").calculator()  # of ASE\n'
        "atoms.calc = calculator  # your ase.Atoms\n"
        "atoms.get_potential_energy()  # eV\n"
        "atoms.get_forces()  # eV/Å"
    )


def path_of_user(run: RunFolder) -> str:
    """Return the run folder as the user typed it where it lies below the current folder, else its name."""
    relative = os.path.relpath(run.path)
    return run.path.name if relative.startswith("..") or relative == "." else relative


def exports(run: RunFolder) -> list[dict[str, str]]:
    """Return format, folder and command of each export of the present student."""
    there = facts.exports(run)
    return [
        {"format": name, "folder": f"deploy/{name}/", "command": command}
        for name, command in COMMANDS.items()
        if name in there
    ]


def speed_sentences(evaluation: dict[str, Any], record: dict[str, Any], data: Dataset | None) -> list[str]:
    """Return sentences on nanoseconds per day: of calls alone beside the teacher, and of dynamics in ASE."""
    found = []
    machine = record.get("machine") or {}
    where = f" on {machine['processor']}" if machine.get("processor") else ""
    sizes = [row for row in evaluation.get("speed_by_size", []) if row.get("student_ns_per_day")]
    if sizes:
        row = sizes[-1]
        beside = row.get("teacher_ns_per_day")
        teacher = f", the teacher {figure(beside)}" if beside else ""
        threads = several(row["threads"], "thread")
        system = f"{row['atoms']} atoms of {_formula(row['system'], data)}"
        found.append(
            f"{figure(row['student_ns_per_day'])} ns/day at 1 fs with {system}{teacher}: "
            f"energy and forces alone, {threads}{where}."
        )
    for row in evaluation.get("nve", []):
        rate = row.get("steps_per_second")
        if rate and row.get("timestep_fs"):
            per_day = rate * 86400 * row["timestep_fs"] * 1e-6
            system = f"{row['atoms']} atoms of {_formula(row['system'], data)}"
            found.append(f"{figure(per_day)} ns/day of dynamics in ASE at {row['timestep_fs']:g} fs with {system}.")
    return found


def rounds(run: RunFolder) -> list[dict[str, Any]]:
    """Return number, result and relative address of the page of each round of active learning."""
    found = []
    for report in round_reports(run):
        page = run.active_learning / f"{report['round']:02d}" / "round.html"
        found.append(
            {
                "number": report["round"],
                "mae": report["forces"]["mae"],
                "limit": report["forces"]["limit"],
                "passed": bool(report["passed"]),
                "broke": how_it_broke(report),
                "address": page.relative_to(run.path).as_posix() if page.is_file() else "",
            }
        )
    return found


def rounds_sentences(found: list[dict[str, Any]]) -> list[str]:
    """Return one sentence on how active learning ended, from the rows of :func:`rounds`; none without rounds."""
    if not found:
        return []
    last, ran = found[-1], several(len(found), "round")
    broke = last["broke"]
    if last["mae"] is None:
        why = f": {broke}" if broke else ""
        return [f"Active learning ended after {ran} without a frame to judge the student by{why}."]
    within = last["mae"] <= last["limit"]
    error = f"force MAE {figure(last['mae'])} eV/Å in its own MD, {'within' if within else 'which does not meet'} the gate"
    also = f"{', but' if within else ';'} {broke}" if broke else ""
    return [f"Active learning ended after {ran}: {error} of {figure(last['limit'])}{also}."]


def _formula(system: str, data: Dataset | None) -> str:
    """Return the formula of a structure of the dataset with its id, and the id alone of any other."""
    rows = [] if data is None else np.flatnonzero(data.ids == system).tolist()
    return f"{data[rows[0]].formula} ({system})" if data is not None and rows else system


def _elements(data: Dataset) -> list[str]:
    from potstill.core.elements import symbols_of

    return symbols_of(np.unique(np.asarray(data.column("atoms/atomic_numbers"))))


def _kinds(data: Dataset) -> str:
    pbc = np.asarray(data.column("structures/pbc"))
    counts = {
        "crystals": int(pbc.all(axis=1).sum()),
        "molecules": int((~pbc.any(axis=1)).sum()),
        "slabs or wires": int((pbc.any(axis=1) & ~pbc.all(axis=1)).sum()),
    }
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
