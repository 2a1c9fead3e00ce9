"""Tables of errors: of students for one system, for many systems, and of the student ``general``."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any

from result_tables.base import markdown_table, result, rows_of, source, table_of, title_of


@table_of
def my_system() -> str:
    """Errors and speed of students for one system, on their own trajectories."""
    rows = [
        (
            f"{title_of(row)}, {row['atoms']} atoms, {row['kelvin']:,.0f} K",
            row.get("start") or "random weights",
            row["labels"],
            {True: "GO", False: "NO-GO", None: ""}[row.get("passed")],
            _duration(row),
            f"{row['force_mae_mev_per_angstrom']:.0f} meV/Å",
            _in_wide_cell(row),
            f"{row['mean_force_component_mev_per_angstrom']:.0f} meV/Å",
            f"{row['energy_mae_mev_per_atom']:.1f} meV/atom",
            "" if row.get("busy") or not row["student_ns_per_day"] else f"{row['student_ns_per_day']:.0f} ns/day",
        )
        for row in sorted(result("my_system")["rows"], key=title_of)
    ]
    head = (
        "system",
        "start",
        "labels",
        "its rounds",
        "whole run",
        "force MAE",
        "in a far wider cell",
        "mean force component",
        "energy MAE",
        "MD with the student",
    )
    return markdown_table(head, rows) + source("my_system")


def _in_wide_cell(row: dict[str, Any]) -> str:
    """Return the error in a far wider cell; empty for a row that was measured before it was looked at."""
    found = row.get("in_wide_cell")
    return f"{found['force_mae_mev_per_angstrom']:.0f} meV/Å, {found['atoms']} atoms" if found else ""


def _duration(row: dict[str, Any]) -> str:
    """Return the duration of a run: by the clock, or by the processors where the machine did other work."""
    if row.get("busy"):
        computed = row["processor_seconds"]
        return (
            f"{computed / 60:.0f} min of one core" if computed else f"{row['wall_seconds'] / 60:.0f} min beside other work"
        )
    return f"{row['wall_seconds'] / 60:.0f} min"


@table_of
def my_system_rounds() -> str:
    """Force errors of each round of active learning, and of 50 ps afterwards."""
    rows = [
        (
            title_of(row),
            row.get("start") or "random weights",
            ", ".join(f"{error:.0f}" for error in row["rounds_mev_per_angstrom"]) + " meV/Å",
            f"{row['force_mae_mev_per_angstrom']:.0f} meV/Å",
        )
        for row in sorted(result("my_system")["rows"], key=title_of)
    ]
    return markdown_table(("system", "start", "force MAE in each round", "force MAE in 50 ps afterwards"), rows) + source(
        "my_system"
    )


@table_of
def learning_curve() -> str:
    """Errors against the number of labels, and a PaiNN beside them."""
    rows = [
        (
            f"{row['labels']:,}",
            f"{row['train_seconds'] / 60:.0f} min",
            f"{100 * row['of_mean_force']:.0f} %",
            f"{100 * row['components_of_mean_force']:.0f} %",
            f"{row['energy_mev_per_atom']:.0f} meV/atom",
        )
        for row in result("learning_curve")["rows"]
    ]
    (painn,) = result("painn")["rows"][:1]
    rows.append(
        (
            f"{painn['labels']:,}, PaiNN",
            f"{painn['train_seconds'] / 60:.0f} min",
            f"{100 * painn['of_mean_force']:.0f} %",
            "",
            f"{painn['energy_mev_per_atom']:.0f} meV/atom",
        )
    )
    head = ("labels", "training", "error of a force vector", "error of components", "energy MAE")
    return markdown_table(head, rows) + source("learning_curve")


APART = "elements start apart"
OF_MANY_ELEMENTS = ("error of a force vector", "the same, trained on", "energy MAE")


def _of_many_elements(row: dict[str, Any]) -> tuple[str, str, str]:
    """Return the errors of a student on compositions that were not trained on, in the order of the names above."""
    held_out, seen = (f"{100 * row[name]:.1f} %" for name in ("of_mean_force", "seen_of_mean_force"))
    return held_out, seen, f"{row['energy_mev_per_atom']:.0f} meV/atom"


@table_of
def local_energies() -> str:
    """Errors of students of 89 elements with and without the loss of local energies."""
    rows = [
        (
            f"{row['labels']:,}",
            f"{row['weight']:g}",
            *_of_many_elements(row),
        )
        for row in sorted(result("local_energies")["rows"], key=lambda row: (row["labels"], row["weight"]))
    ]
    head = ("labels", "`local_energies_weight`", *OF_MANY_ELEMENTS)
    return markdown_table(head, rows) + source("local_energies")


@table_of
def many_elements() -> str:
    """Errors of students of 89 elements that differ in one option, by the same steps."""
    rows = [
        (
            row["way"],
            f"{row['parameters'] / 1e6:.1f} million",
            f"{row['evaluation_ms']:.0f} ms",
            *_of_many_elements(row),
        )
        for row in sorted(result("many_elements")["rows"], key=lambda row: float(row["of_mean_force"]))
    ]
    head = ("student", "parameters", "32 structures", *OF_MANY_ELEMENTS)
    return markdown_table(head, rows) + source("many_elements")


@table_of
def many_elements_by_source() -> str:
    """Force errors by source of students with absolute distances, with relative ones, and with elements that start alike."""
    rows = {row["way"]: row for row in result("many_elements")["rows"]}
    shown = [rows[way]["per_source"] for way in (f"{APART}, absolute distances", APART, "as in the template")]
    before, now = shown[0], shown[-1]
    cells = [
        (f"`{name}`", *(f"{100 * of[name]['of_mean_force']:.0f} %" for of in shown))
        for name in sorted(before, key=lambda name: float(now[name]["of_mean_force"] / before[name]["of_mean_force"]))
    ]
    head = ("source", "absolute distances", "relative distances", "and elements that start alike")
    return markdown_table(head, cells) + source("many_elements")


@table_of
def errors_by_source() -> str:
    """Errors of the student with most labels, by the kind of structure."""
    best = max(result("learning_curve")["rows"], key=lambda row: row["labels"])
    rows = [
        (
            f"`{name}`",
            row["structures"],
            f"{100 * row['of_mean_force']:.0f} %",
            f"{100 * row['components_of_mean_force']:.0f} %",
            f"{row['energy_mev_per_atom']:.0f} meV/atom",
        )
        for name, row in best["per_source"].items()
    ]
    head = ("source", "held-out structures", "error of a force vector", "error of components", "energy MAE")
    return markdown_table(head, rows) + source("learning_curve")


@table_of
def general() -> str:
    """Errors of the student ``general`` by source, on held-out families and on what it was trained on."""
    row = max(result("general")["rows"], key=lambda found: found["labels"])
    everything = ("all", row["held_out"], row["of_mean_force"], row["seen_of_mean_force"], row["energy_mev_per_atom"])
    lines = [everything] + [
        (name, of["structures"], of["of_mean_force"], of["seen_of_mean_force"], of["energy_mev_per_atom"])
        for name, of in sorted(row["per_source"].items(), key=lambda item: item[1]["of_mean_force"])
    ]
    cells = [
        (name, f"{count:,}", f"{100 * held:.0f} %", f"{100 * seen:.0f} %", f"{energy:.0f} meV/atom")
        for name, count, held, seen, energy in lines
    ]
    head = ("source", "held-out structures", "force error", "force error, trained on", "energy error")
    return markdown_table(head, cells) + source("general")


@table_of
def general_trials() -> str:
    """The student ``general`` and what became of it by a training on other labels, on the same families."""
    rows = sorted(
        (row for row in result("general_trials")["rows"] if "judged_on" not in row),
        key=lambda row: ("start_of_mean_force" not in row, row["share_of_last_training"]),
    )
    before = [("those before", rows[0]["start_of_mean_force"], rows[0]["start_energy_mev_per_atom"], None)]
    after = [(_share_of(row), row["of_mean_force"], row["energy_mev_per_atom"], row["seen_of_mean_force"]) for row in rows]
    cells = [
        (name, f"{100 * force:.1f} %", f"{energy:.0f} meV/atom", "–" if seen is None else f"{100 * seen:.0f} %")
        for name, force, energy, seen in [*before, *after]
    ]
    head = ("weights", "force error, held out", "energy error, held out", "force error, trained on")
    return markdown_table(head, cells) + source("general_trials")


@table_of
def general_small_cells() -> str:
    """The student ``general`` before and after a training on small cells of many compositions."""
    (row,) = (row for row in result("general_trials")["rows"] if "judged_on" in row)
    cells = [
        (name, f"{100 * row[f'{start}of_mean_force']:.1f} %", f"{row[f'{start}energy_mev_per_atom']:.0f} meV/atom")
        for name, start in (("before", "start_"), ("after", ""))
    ]
    return markdown_table(("weights", "force error, held out", "energy error, held out"), cells) + source("general_trials")


def _share_of(row: dict[str, Any]) -> str:
    share = float(row["share_of_last_training"])
    if "start_of_mean_force" not in row:
        return f"from nothing, elements start {row['elements_start']}, {row['trainings'][-1]['epochs']} passes"
    return "after the training" if share == 1 else f"mean with {100 * share:.0f} % of it"


@table_of
def fine_tuning() -> str:
    """Fine-tuning from ``general`` beside training from nothing in the same time."""
    cells = [
        (
            title_of(row),
            row["labels"],
            f"{row['before']['forces_mev_per_angstrom']:.0f}",
            f"{row['fine_tuned']['forces_mev_per_angstrom']:.0f}",
            f"{row['from_nothing']['forces_mev_per_angstrom']:.0f}",
            f"{row['fine_tuned']['seconds']:.0f} s, {row['from_nothing']['seconds']:.0f} s",
        )
        for row in result("fine_tuning")["rows"]
    ]
    head = ("system", "labels", "`general` as it is", "fine-tuned", "from nothing", "time")
    return markdown_table(head, cells) + "\n\nMean length of the force error in meV/Å." + source("fine_tuning")


@table_of
def replay() -> str:
    """Fine-tuning with and without earlier structures: errors on the system, and on other families."""
    rows = result("replay")["rows"]
    cells = [
        (
            title_of(row),
            _replayed(row["share"]),
            f"{row['system_errors']['forces_mev_per_angstrom']:.0f}",
            f"{row['other_families']['forces_mev_per_angstrom']:.0f}",
            f"{row['other_families']['energy_mev_per_atom']:.0f}",
            f"{row['seconds']:.0f} s" if row["seconds"] else "",
        )
        for row in rows
    ]
    head = ("system", "replay", "system, meV/Å", "other families, meV/Å", "other families, meV/atom", "processor time")
    what = f"Fine-tuning with {rows[0]['labels']} labels. Errors of the force are mean lengths."
    return markdown_table(head, cells) + f"\n\n{what}" + source("replay")


def _replayed(share: float | None) -> str:
    """Return the share of earlier structures in words."""
    if share is None:
        return "`general` as it is"
    return f"{100 * share:.0f} %" if share else "none"


@table_of
def general_physics() -> str:
    """Physics of ``general`` beside its teacher: medians over systems whose composition it saw and did not see."""
    rows = {
        row["system"].removeprefix("median, "): row for row in result("general_physics")["rows"] if row["kind"] == "median"
    }
    quantities = {
        "lattice_constant": "lattice constant, %",
        "bulk_modulus": "bulk modulus, %",
        "phonons": "mean phonon frequency, %",
        "vibrations": "vibrations of molecules, %",
        "torsions": "rigid turns about bonds, meV",
    }
    cells = [
        (name, *(f"{rows[of][key]:.3g} ({rows[of][f'systems_{key}']})" for of in ("seen", "not seen")))
        for key, name in quantities.items()
    ]
    head = ("median gap to the teacher (systems)", "composition in the training set", "not in it")
    return markdown_table(head, cells) + source("general_physics")


@table_of
def uncertainty() -> str:
    """How well expected errors hold: on held-out families by source, and in the MD of students of one system."""
    families = [
        (f"`general`, held out: {row['source']}", row["atoms"], row)
        for row in rows_of("uncertainty", student="general")
        if "atoms" in row
    ]
    own = [
        (
            f"student of {title_of(row)}, its own MD",
            row.get("atoms_in_md", row["atoms"]) * row["frames_labelled"],
            row["expected_errors"],
        )
        for row in result("my_system")["rows"]
        if row.get("expected_errors", {}).get("fitted_on") == "own trajectories"
    ]
    cells = [
        (
            what,
            f"{atoms:,}",
            f"{100 * row['within_bound']:.0f} %",
            _two_digits(row["auroc_large"]),
            f"{row['over_true']:.2f}",
        )
        for what, atoms, row in [*families, *own]
    ]
    head = ("atoms of", "number", "within the bound of 90 %", "AUROC, large errors", "mean expected over mean true")
    return markdown_table(head, cells) + source("uncertainty") + source("my_system")


@table_of
def general_md() -> str:
    """MD by ``general``: how it ended, errors on its frames, and how well expected errors hold there."""
    cells = [
        (
            row["system"],
            row["atoms"],
            f"{row['length_ps']} ps at {row['kelvin']:.0f} K, {row['ended']}",
            f"{100 * row['of_mean_force']:.0f} %",
            f"{row['energy_spread_mev_per_atom']:.1f}",
            f"{100 * row['within_bound']:.0f} %",
        )
        for row in result("general_md")["rows"]
    ]
    head = ("system", "atoms", "NVT", "force error", "spread of the energy error, meV/atom", "within the bound of 90 %")
    return markdown_table(head, cells) + source("general_md")


def _two_digits(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


@table_of
def given_labels() -> str:
    """Students from labels of GFN2-xTB, which stands for a quantum-chemical program."""
    cells = [
        (
            title_of(row),
            row["labels"],
            row["audit"].replace("_", "-"),
            f"{row['gates_met']} of {row['gates_asked']}",
            f"{row['force_mae_mev_per_angstrom']:.0f}",
            f"{100 * row['of_mean_force']:.0f}",
            f"{row['energy_mae_mev_per_atom']:.1f}",
        )
        for row in result("given_labels")["rows"]
    ]
    head = ("system", "labels", "audit", "gates met", "force MAE, meV/Å", "force error, %", "energy MAE, meV/atom")
    return markdown_table(head, cells) + source("given_labels")


@table_of
def pareto() -> str:
    """Shapes of the student and public networks after equal times of training."""
    cells = [
        (
            row["candidate"],
            f"{row['parameters'] / 1e6:.2f} million",
            f"{row['epochs']:.0f}",
            f"{row['trained_atoms_per_second']:,}",
            *(f"{row[f'{part}_forces_ev_per_angstrom']:.2f}" for part in ("train", "valid", "test")),
            f"{1e6 / row['NaCl216_microseconds_per_atom']:,.0f}",
        )
        for row in result("pareto")["rows"]
    ]
    head = ("", "parameters", "epochs", "atoms/s in training", "train, eV/Å", "valid, eV/Å", "test, eV/Å", "atoms/s")
    return markdown_table(head, cells) + source("pareto")


@table_of
def hessian() -> str:
    """Force errors with and without Hessian-vector products, for two numbers of labels."""
    ways = {
        "without": "without",
        "with products": "with products, as many steps",
        "without, as long": "without, for as long",
    }
    found = {(row["labels"], row["way"]): row for row in result("hessian")["rows"]}
    cells = [
        (labels, *(f"{found[labels, way]['forces_ev_per_angstrom']:.3f} eV/Å" for way in ways))
        for labels in sorted({labels for labels, _ in found})
    ]
    return markdown_table(("labels", *ways.values()), cells) + source("hessian")


@table_of
def few_labels() -> str:
    """Ways to train a student of one system on the same labels: force error, processor time, time of a step."""
    rows = result("few_labels")["rows"]
    first = rows[0]
    cells = [
        (
            row["way"],
            f"{row['forces_mev_per_angstrom']:.1f} meV/Å",
            f"{row['processor_seconds'] / first['processor_seconds']:.1f} times",
            f"{row['step_ms'] / first['step_ms']:.1f} times",
        )
        for row in rows
    ]
    head = ("way", "MAE of a force component", "processor time of the training", "time of a step of MD")
    return markdown_table(head, cells) + source("few_labels")


@table_of
def optimizers() -> str:
    """Force errors of students of one system by optimizer and number of epochs, with the processor time of each training."""
    rows = result("optimizers")["rows"]
    ways = list(dict.fromkeys(row["way"] for row in rows))
    cells = []
    for system in dict.fromkeys(row["system"] for row in rows):
        of = {way: [row for row in rows if (row["system"], row["way"]) == (system, way)] for way in ways}
        figures = [
            f"{fmean(row['forces_mev_per_angstrom'] for row in of[way]):.0f} meV/Å, "
            f"{fmean(row['processor_seconds'] for row in of[way]):.0f} s"
            for way in ways
        ]
        cells.append((title_of(of[ways[0]][0]), of[ways[0]][0]["labels"], *figures))
    return markdown_table(("system", "labels", *ways), cells) + source("optimizers")


@table_of
def selection() -> str:
    """Errors with all labels, a random half, and halves that ``label.select`` chose."""
    cells = [
        (
            f"{row['labelled']}, {row['labels']:,}",
            f"{100 * row['of_mean_force']:.1f} %",
            f"{row['energy_mev_per_atom']:.0f} meV/atom",
        )
        for row in result("selection")["rows"]
    ]
    return markdown_table(("labelled", "force error over the mean force", "energy MAE"), cells) + source("selection")


@table_of
def teachers_published() -> str:
    """Errors of teachers for inorganic crystals, as Matbench Discovery lists them; nothing here was measured by us."""
    found = json.loads((Path(__file__).parent / "published_teachers.json").read_text(encoding="utf-8"))
    cells = [
        (
            row["model"],
            f"{row['million_parameters']} million",
            f"{row['hull_mae_mev_per_atom']} meV/atom",
            f"{row['f1']:.3f}",
            f"{row['kappa_srme']:.3f}",
            f"[{row['file']}](https://github.com/{found['repository']}/blob/{row['commit']}/{row['file']})",
        )
        for row in found["rows"]
    ]
    head = (
        "model",
        "parameters",
        "energy above hull, MAE",
        "F1, stable or not",
        "thermal conductivity, error κ_SRME",
        "file",
    )
    return markdown_table(head, cells)
