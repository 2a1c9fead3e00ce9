"""Figures within sentences on whole runs, from their result files."""

from __future__ import annotations

import re
from typing import Any

from result_tables.base import figure_of, rounded, rows_of, values_of


@figure_of
def quickstart_minutes() -> str:
    """Wall minutes of the demo."""
    return rounded(values_of("quickstart")["wall time"] / 60)


def _long_run(run: str) -> dict[str, Any]:
    (row,) = rows_of("production_120k", run=run, batch="whole")
    return row


@figure_of
def long_run_minutes() -> str:
    """Wall minutes of the run of 120,000."""
    return rounded(_long_run("quiet")["wall_seconds"] / 60)


@figure_of
def long_run_gigabytes() -> str:
    """Size of its folder."""
    return rounded(_long_run("quiet")["folder_bytes"] / 1e9)


@figure_of
def killed_run() -> str:
    """Kills of the killed run by process and by stage."""
    row = _long_run("killed")
    by = ", ".join(f"the {'worker' if who == 'worker' else who} {count}" for who, count in row["killed"].items())
    at = " and ".join(f"{count} in `{stage}`" for stage, count in row["killed_in"].items())
    return f"{row['kills']} kills at random moments ({by}; {at})"


@figure_of
def killed_run_minutes() -> str:
    """Wall minutes of the killed run, beside other work."""
    return rounded(_long_run("killed")["seconds"] / 60)


@figure_of
def killed_run_blocks() -> str:
    """Blocks of its dataset with the checksums of the run that was not killed."""
    row = _long_run("killed")
    assert row["same_checksums"], "the sentence says that they are the same"  # noqa: S101
    return f"{row['blocks']}"


@figure_of
def sevennet_minutes() -> str:
    """Minutes for 2,000 labels of SevenNet-0 on one core."""
    (row,) = rows_of("label", what="throughput", teacher="sevennet")
    return rounded(2000 / row["structures_per_s"] / 60)


def _limit(name: str) -> float:
    (row,) = [row for row in rows_of("scaling_on_paper", what="limit") if row["limit"].startswith(name)]
    return float(row["value"])


@figure_of
def filter_milliseconds() -> str:
    """Milliseconds of the filter and of reading parts per structure."""
    case = rows_of("scaling_on_paper", what="case")[-1]
    return rounded(3.6e6 * case["hours"]["driver: read parts and the door"] / case["structures"])


@figure_of
def filter_gpus() -> str:
    """GPUs that the filter keeps up with."""
    return rounded(_limit("GPUs that the driver's door"))


@figure_of
def cores_for_a_gpu() -> str:
    """Cores that make structures as fast as a GPU labels them."""
    return f"{_limit('cores beside a GPU'):.0f}"


@figure_of
def memory_limits() -> str:
    """Structures at which the tables of audit, filter and merge fill the memory."""
    audit, door, merge = (_limit(name) / 1e6 for name in ("the audit's table", "driver's door in", "assembling"))
    (assumed,) = rows_of("scaling_on_paper", what="assumed")
    memory = f"{assumed['driver_memory_bytes'] / 1e9:.0f} GB"
    return f"{memory} at {audit:.0f} million structures, the filter at {door:.0f} million, the merge at {merge:.0f} million"


@figure_of
def monitor_limit() -> str:
    """Structures from which on a look at all files takes longer than its interval."""
    return f"{_limit('a look of the monitor') / 1e6:.0f} million"


@figure_of
def parsl_tasks() -> str:
    """Empty tasks per second through Parsl."""
    (measured,) = rows_of("scaling_on_paper", what="measured")
    return rounded(measured["parsl_tasks_per_second"])


@figure_of
def parsl_gpus() -> str:
    """GPUs for which these are enough."""
    return rounded(_limit("GPUs that the driver can pass"))


@figure_of
def lammps_million() -> str:
    """Gigabytes of a million atoms of silicon in LAMMPS, by the largest system that was measured."""
    row = max(rows_of("lammps", part="size"), key=lambda row: row["atoms"])
    return rounded(row["bytes_per_atom"] / 1e3)


# --- the tutorial ---


def _tutorial(step: str) -> dict[str, Any]:
    (row,) = rows_of("tutorial", step=step)
    return row


@figure_of
def tutorial_gates() -> str:
    """Gates that the student of the tutorial meets."""
    return re.findall(r"the student meets all (\d+) gates", _verdict())[0]


@figure_of
def tutorial_not_judged() -> str:
    """Number and names of the properties that were not judged."""
    names = re.findall(r"not judged, since its data contain none: (.+)$", _verdict())[0].split(", ")
    return f"{len(names)}: {' and '.join(names)}"


def _verdict() -> str:
    (line,) = [line for line in _tutorial("run")["printed"] if line.startswith("GO: ")]
    return str(line)


@figure_of
def tutorial_round_error() -> str:
    """Force error in the student's own MD that ended active learning, as the run printed it, in meV/Å."""
    (line,) = [line for line in _tutorial("run")["printed"] if line.startswith("train")]
    (error,) = re.findall(r"force MAE ([\d.]+) eV/Å in its own MD", line)
    return f"{1000 * float(error):.0f}"
