"""Tables of speed: teachers, students beside public networks, engines, training."""

from __future__ import annotations

from result_tables.base import FS_PER_NS, SECONDS_PER_DAY, markdown_table, rows_of, source, table_of


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
    order = ["student nano", "student base", "student xl", "schnetpack PaiNN", "CHGNet 0.3.0"]
    order += ["SevenNet-0, kernel", "SevenNet-0", "orb-v2-compiled", "orb-v3-direct-20", "orb-v3-conservative-20"]
    rows = []
    for model in order:
        cells = []
        for system in systems:
            (row,) = rows_of("student_speed", system=system, mode="md", model=model)
            cells.append(f"{1e3 * row['seconds']:.1f} ms ({SECONDS_PER_DAY / row['seconds'] / FS_PER_NS:.2g} ns/day)")
        rows.append((model.replace("-compiled", "").replace(", kernel", " by the kernel of potstill"), *cells))
    return markdown_table(("model", *systems.values()), rows) + source("student_speed")


@table_of
def scaling() -> str:
    """Microseconds per atom against the number of atoms."""
    found = [row for row in rows_of("student_scaling", what="time", kind="Si") if row["model"] == "student base"]
    head = ("atoms", *(f"{row['atoms']:,}" for row in found))
    return markdown_table(head, [("µs per atom", *(f"{row['microseconds_per_atom']:.1f}" for row in found))]) + source(
        "student_scaling"
    )


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


SPEED_ROWS = {
    "student nano": "nano, fused",
    "student base": "base, fused",
    "student base, PyTorch": "base, PyTorch",
    "student large": "large, fused",
    "student xl": "xl, fused",
    "schnetpack PaiNN": "PaiNN (schnetpack, 128 features, 3 layers)",
    "graph-pes TensorNet": "TensorNet (graph-pes)",
    "CHGNet 0.3.0": "CHGNet 0.3.0",
    "SevenNet-0, kernel": "SevenNet-0 by the kernel of potstill",
    "SevenNet-0": "SevenNet-0",
    "orb-v3-direct-20": "orb-v3-direct-20",
    "orb-v3-conservative-20": "orb-v3-conservative-20",
}
SPEED_COLUMNS = {
    ("Si64", "single"): "Si64",
    ("Si216", "single"): "Si216",
    ("NaCl216", "single"): "NaCl216",
    ("aspirin", "single"): "aspirin",
    ("32 crystals", "batch"): "32 crystals in one call",
    ("Si216", "md"): "a step of MD, Si216",
}


@table_of
def speed_against_orb() -> str:
    """Times of students and public networks as ratios to orb-v2, whose time is the last row."""
    found = {(row["model"], row["system"], row["mode"]): row for row in rows_of("student_speed")}

    def cell(model: str, system: str, mode: str) -> str:
        ratio = found[model, system, mode]["ratio"]
        return f"x{ratio:.1f}" if ratio < 9.95 else f"x{ratio:.0f}"

    cells = [(title, *(cell(model, *column) for column in SPEED_COLUMNS)) for model, title in SPEED_ROWS.items()]
    times = []
    for system, mode in SPEED_COLUMNS:
        reference = found["student base", system, mode]["reference"]
        times.append(f"{1e3 * found[reference, system, mode]['seconds']:,.0f} ms")
    cells.append(("orb-v2, the faster of eager and compiled", *times))
    return markdown_table(("", *SPEED_COLUMNS.values()), cells) + source("student_speed")


@table_of
def student_cost() -> str:
    """Parameters, matrix products and memory traffic of an atom, for students and public networks."""
    cells = [
        (
            row["model"].replace(", PyTorch", ""),
            f"{row['parameters'] / 1e6:.2g} million",
            f"{row['mflop_per_atom']:,.1f} MFLOP",
            f"{row['megabytes_per_atom']:.1f} MB",
            f"{row['operations']:,}",
        )
        for row in sorted(rows_of("student_cost"), key=lambda row: row["mflop_per_atom"])
    ]
    head = ("", "parameters", "matrix products", "memory traffic", "operations")
    return markdown_table(head, cells) + source("student_cost")


CPU_FLOPS, CPU_BYTES, GPU_FLOPS, GPU_BYTES = 200e9, 20e9, 20e12, 1.5e12  # per second, of two cores and of one card
GPU_LAUNCH_SECONDS = 5e-6  # assumed, of one kernel


@table_of
def roofline() -> str:
    """Bounds of the tier ``base`` in PyTorch, computed from its counted arithmetic and memory traffic."""
    (row,) = rows_of("student_cost", model="student base, PyTorch")
    flops, traffic = 1e6 * row["mflop_per_atom"], 1e6 * row["megabytes_per_atom"]
    head = ("`base` in PyTorch", "two cores (200 GFLOP/s, 20 GB/s)", "a GPU (20 TFLOP/s float32, 1.5 TB/s)")
    by_memory = [f"{1e6 * traffic / rate:.1f} µs per atom" for rate in (CPU_BYTES, GPU_BYTES)]
    by_arithmetic = [f"{1e6 * flops / rate:.1f} µs per atom" for rate in (CPU_FLOPS, GPU_FLOPS)]
    cells = [("bound by memory, were there no caches", *by_memory), ("bound by arithmetic", *by_arithmetic)]
    return markdown_table(head, cells) + f"\n\n*Computed: {flops / traffic:.1f} FLOP per byte.*"


@table_of
def waiting_threads() -> str:
    """Processor and wall time of a step for each number of threads and way of waiting."""
    cells = [
        (
            row["threads"],
            row["waiting"] if row["waiting"] != "none" else "",
            {"import potstill": "`import potstill`", "environment": "the environment"}.get(row["chosen_by"], ""),
            f"{1e3 * row['cpu_s_per_step']:.0f} ms",
            f"{1e3 * row['wall_s_per_step']:.0f} ms",
        )
        for row in rows_of("waiting_threads")
    ]
    head = ("threads", "waiting", "set by", "processor time of a step", "wall time of a step")
    return markdown_table(head, cells) + source("waiting_threads")


@table_of
def memory_growth() -> str:
    """Resident memory of a process over a million calls."""
    rows = [row for row in rows_of("memory_growth") if "calls" in row]
    shown = [rows[0], *(row for row in rows if row["calls"] in {100_000, 500_000}), rows[-1]]
    head = ("calls", *(f"{row['calls']:,}" for row in shown))
    cells = [("resident memory", *(f"{row['resident_bytes'] / 1e6:.1f} MB" for row in shown))]
    return markdown_table(head, cells) + source("memory_growth")
