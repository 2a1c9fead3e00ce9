"""Tables of time, disk and memory of whole runs."""

from __future__ import annotations

from result_tables.base import markdown_table, rounded, rows_of, source, table_of, values_of


@table_of
def costs_measured() -> str:
    """Wall minutes of each stage in runs that were done here."""
    small, medium = values_of("small_6k"), values_of("medium_10k")
    stages = ("generate", "label", "audit", "train", "evaluate")
    rows = [
        (
            title,
            f"{found['labelled']:,}",
            *(f"{found[f'stage {stage}'] / 60:.1f}" for stage in stages),
            f"{sum(found[f'stage {stage}'] for stage in stages) / 60:.0f} min",
        )
        for title, found in (("`small_6k`", small), ("`medium_10k`, contingency mix", medium))
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
    """Errors of the tutorial's production MD."""
    (step,) = rows_of("tutorial", step="production")
    found = step["result"]
    cells = [
        ("MD", f"{found['ps']:g} ps of {found['atoms']} atoms at {found['mean_kelvin']:.0f} K"),
        ("frames that the teacher labelled", f"{found['frames_compared']}"),
        ("force error, mean over components", f"{found['force_mae_mev_per_angstrom']} meV/Å"),
        ("mean force component", f"{found['mean_force_component_mev_per_angstrom']} meV/Å"),
        ("energy error", f"{found['energy_mae_mev_per_atom']} meV/atom"),
        ("largest expected force error", f"{1e3 * found['largest_expected_error_ev_per_angstrom']:.0f} meV/Å"),
    ]
    return markdown_table(("figure", "measured"), cells) + source("tutorial")


@table_of
def tutorial_costs() -> str:
    """Processor time of each command of the tutorial."""
    titles = {"plan": "`potstill plan`", "run": "`potstill run`", "production": "`production.py`"}
    cells = [
        (title, f"{rounded(rows_of('tutorial', step=step)[0]['processor_seconds'] / 60)} min")
        for step, title in titles.items()
    ]
    note = " The machine did other work meanwhile, so processor times are given."
    return markdown_table(("command", "processor time, all cores"), cells) + source("tutorial") + note


@table_of
def scaling_on_paper() -> str:
    """Hours of each part of runs that nobody did, computed from measured rates."""
    cases = rows_of("scaling_on_paper", what="case")
    names = {
        "workers: make structures": "workers make structures",
        "workers: label": "workers label",
        "driver: pass tasks": "driver passes tasks",
        "driver: read parts and the door": "driver reads parts, and the filter",
        "driver: assemble and join": "driver assembles and joins",
        "driver: audit batches and the whole": "driver audits batches and the whole",
    }
    cells: list[tuple[str, ...]] = [
        (title, *(rounded(case["hours"][name]) for case in cases)) for name, title in names.items()
    ]
    cells += [
        (
            "memory of the filter, of the audit",
            *(f"{rounded(case['door_gigabytes'])}, {rounded(case['audit_gigabytes'])} GB" for case in cases),
        ),
        ("part files", *(f"{case['part_files']:,}" for case in cases)),
        (
            "`dataset.h5`, its `ptr`",
            *(f"{rounded(case['dataset_gigabytes'])}, {rounded(case['ptr_gigabytes'], 1)} GB" for case in cases),
        ),
    ]
    head = ("", *(f"{case['structures']:,} on {case['gpus']} GPU{'s' * (case['gpus'] > 1)}" for case in cases))
    return markdown_table(head, cells) + source("scaling_on_paper")


@table_of
def execution() -> str:
    """Seconds of the same labelling by the local executor and by Parsl, and empty tasks per second."""
    found = {(row["backend"], row.get("teacher", "empty tasks")): row for row in rows_of("execution")}
    cells = []
    for teacher in ("sevennet", "emt"):
        local, parsl = found["local", teacher], found["parsl", teacher]
        seconds = local["steady_milliseconds_per_task"] / 1e3
        cells.append((f"`{teacher}`, tasks of {seconds:.2g} s", f"{local['seconds']:.1f} s", f"{parsl['seconds']:.1f} s"))
    cells.append(
        (
            "empty tasks",
            *(f"{found[name, 'empty tasks']['tasks_per_second']:,.0f} per second" for name in ("local", "parsl")),
        )
    )
    return markdown_table(("work", "local", "Parsl"), cells) + source("execution")


@table_of
def production_labels() -> str:
    """Labels, elements, seconds of the workers and verdict of each batch of a real teacher, and of the whole."""
    rows = [row for row in rows_of("production_120k") if row["run"] not in ("quiet", "killed")]
    cells = [
        (
            str(row["batch"]) if str(row["batch"]).isdigit() else "merged, and audited as a whole",
            f"{row['structures']:,}",
            f"{row['labelled']:,}",
            f"{row['elements']}",
            f"{row['label_worker_seconds'] / 3600:.1f} h",
            f"{row['worker_peak_bytes'] / 1e9:.1f} GB",
            f"{row['dataset_bytes'] / 1e6:.0f} MB",
            row["verdict"].replace("_", "-"),
        )
        for row in rows
    ]
    head = (
        "batch",
        "structures",
        "labels",
        "elements",
        "time of the workers",
        "memory of a worker",
        "`dataset.h5`",
        "audit",
    )
    return markdown_table(head, cells) + source("production_120k")


@table_of
def long_run() -> str:
    """Structures, seconds, memory and disk of each batch of the long run, and of the whole."""
    cells = []
    for row in rows_of("production_120k", run="quiet"):
        batch = str(row["batch"])
        stages = [row.get(f"{stage}_seconds") for stage in ("generate", "label", "audit")]
        seconds = ", ".join("–" if value is None else f"{value:.0f}" for value in stages)
        memory = ", ".join(f"{row[f'{of}_peak_bytes'] / 1e9:.2f}" for of in ("driver", "all_processes"))
        title = batch if batch.isdigit() else "merged, and audited as a whole"
        cells.append(
            (title, f"{row['structures']:,}", f"{seconds} s", f"{memory} GB", f"{row['dataset_bytes'] / 1e6:.0f} MB")
        )
    head = ("batch", "structures", "generate, label, audit", "memory of the driver, of all processes", "`dataset.h5`")
    return markdown_table(head, cells) + source("production_120k")
