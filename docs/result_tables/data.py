"""Tables of sources, dataset files and the audit."""

from __future__ import annotations

from result_tables.base import markdown_table, result, rounded, source, table_of


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
def sources_mix() -> str:
    """Elements, sizes, distances and duplicates of ten thousand structures of a mix."""
    (row,) = result("sources_mix")["rows"]
    cells = [
        ("elements", f"{row['elements']}"),
        ("duplicates", f"{100 * row['duplicates']:.2g} %"),
        ("shortest distance over the sum of covalent radii", f"{row['smallest_scaled_distance']:.2f}"),
        ("element entropy", f"{row['element_entropy_bits']:.2f} bits"),
        ("coefficient of variation of the size", f"{row['size_cv']:.2f}"),
        ("file from one worker and from two", "the same" if row["same_file"] else "another"),
    ]
    return markdown_table(("figure", "value"), cells) + source("sources_mix")


@table_of
def dataset_access() -> str:
    """Structures per second that each kind of file writes and reads, on the same few structures."""
    found = {(row["what"], row["way"]): row for row in result("dataset_access")["rows"]}
    cells = []
    for way in ("potstill", "HDF5, a group per structure", "ASE database", "LMDB"):
        line = [way]
        for what in ("write, few", "random, few"):
            row = found[what, way]
            faster = "" if way == "potstill" else rounded(row["potstill_is_faster_by"])
            line += [f"{row['per_second']:,.0f}", faster]
        cells.append(line)
    head = (
        "3,000 structures",
        "written per second",
        "potstill is faster by",
        "random batches of 32, structures per second",
        "potstill is faster by",
    )
    return markdown_table(head, cells) + source("dataset_access")


@table_of
def dataset_whole() -> str:
    """Rates, memory and size of a file of 120,000 structures, and its statistics."""
    found = {(row["what"], row["way"]): row for row in result("dataset_access")["rows"]}
    (statistics,) = result("dataset_statistics")["rows"]
    file = found["file", "potstill"]
    waiting = [f"`{tier}` {100 * found['training', f'student {tier}']['share_waiting']:.1f} %" for tier in ("nano", "base")]
    cells = [
        ("written", f"{found['write', 'potstill']['per_second']:,.0f} structures per second"),
        ("read in random batches of 32", f"{found['random', 'potstill']['per_second']:,.0f} structures per second"),
        (
            "the same through the thread that feeds a training, without neighbor lists",
            f"{found['loader', 'potstill']['per_second']:,.0f} structures per second",
        ),
        ("size of the file", f"{file['ratio']:.2f} times the bare numbers and texts"),
        ("memory while writing, beside that of the process", f"{file['memory_megabytes']:.0f} MB"),
        ("all statistics", f"{statistics['seconds']:.0f} s"),
        ("share of a training that waits for its batches", ", ".join(waiting)),
    ]
    return markdown_table((f"{file['structures']:,} structures", "measured"), cells) + source("dataset_access")


@table_of
def detection_limits() -> str:
    """Smallest size of each injected fault that the audit caught in every trial, and the checks that caught it."""
    cells = []
    for row in result("detection_limits")["rows"]:
        if row["smallest"] is None:
            share = max(row["caught"].values())
            size = f"not always at {row['largest_tried']:g} {row['unit']}; at best in {round(share * row['trials'])} of"
            size += f" {row['trials']} trials"
        else:
            unit = "" if row["unit"] in {"x", "share"} else f" {row['unit']}"
            size = f"{row['smallest']:g}{unit.rstrip('s') if row['smallest'] == 1 else unit}"
        cells.append((row["fault"], size, ", ".join(f"`{name}`" for name in row.get("checks", {}))))
    return markdown_table(("fault", "smallest size caught", "by"), cells) + source("detection_limits")


@table_of
def audit_cost() -> str:
    """Seconds and memory of an audit, swapped energies that it found, and good data that it refused."""
    rows = result("audit")["rows"]
    cells = [
        (
            f"audit of {row['structures']:,} structures, without what asks the teacher",
            f"{row['seconds']:.0f} s, {row['peak_mb_of_all_processes'] / 1e3:.1f} GB in all processes",
        )
        for row in rows
        if row["part"] == "cost"
    ]
    (swapped,) = (row for row in rows if row["part"] == "swapped energies of two")
    (refused,) = (row for row in rows if row["part"] == "false NO-GO")
    beyond = swapped["either_beyond"]["5.0 eV/atom"]
    cells += [
        (
            f"two of {swapped['structures']:,} energies swapped: found",
            f"{swapped['caught']['either']} of {swapped['trials']} trials; beyond 5 eV/atom {beyond}",
        ),
        (
            f"draws of an eighth of the families of {refused['structures']:,} good structures: refused",
            f"{refused['refused']} of {refused['draws']}",
        ),
    ]
    return markdown_table(("audit", "measured"), cells) + source("audit")
