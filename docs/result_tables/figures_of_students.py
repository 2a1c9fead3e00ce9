"""Figures within sentences on speed and errors of the student and of public networks, from result files."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from result_tables.base import figure_of, per_cent, rounded, rows_of, span
from result_tables.speed import GPU_BYTES, GPU_LAUNCH_SECONDS


def _cost(model: str) -> dict[str, Any]:
    (row,) = rows_of("student_cost", model=model)
    return row


def _of_base(model: str, column: str) -> float:
    return _cost(model)[column] / _cost("student base, PyTorch")[column]


@figure_of
def traffic_of_painn() -> str:
    """Memory traffic of the tier base over that of PaiNN."""
    return per_cent(1 / _of_base("schnetpack PaiNN", "megabytes_per_atom"))


@figure_of
def traffic_of_sevennet() -> str:
    """Memory traffic of the tier base over that of SevenNet-0."""
    return per_cent(1 / _of_base("SevenNet-0", "megabytes_per_atom"))


@figure_of
def orb_parameters() -> str:
    """Parameters of orb-v2 over those of the tier base."""
    return rounded(_of_base("orb-v2", "parameters"))


@figure_of
def orb_arithmetic() -> str:
    """Matrix products of orb-v2 over those of the tier base."""
    return rounded(_of_base("orb-v2", "mflop_per_atom"))


@figure_of
def base_megabytes() -> str:
    """Memory traffic of the tier base per atom."""
    return rounded(_cost("student base, PyTorch")["megabytes_per_atom"])


@figure_of
def launches() -> str:
    """Operations of a call of the tier base in PyTorch."""
    return f"{_cost('student base, PyTorch')['operations']}"


@figure_of
def launch_microseconds() -> str:
    """Assumed time of a launch on a GPU."""
    return f"{1e6 * GPU_LAUNCH_SECONDS:g}"


@figure_of
def launch_milliseconds() -> str:
    """Time of all launches of a call."""
    return rounded(1e3 * GPU_LAUNCH_SECONDS * _cost("student base, PyTorch")["operations"])


@figure_of
def launch_atoms() -> str:
    """Atoms up to which launches take longer than the memory traffic on a GPU."""
    row = _cost("student base, PyTorch")
    return rounded(GPU_LAUNCH_SECONDS * row["operations"] / (1e6 * row["megabytes_per_atom"] / GPU_BYTES))


@figure_of
def plain_pytorch() -> str:
    """Speed of the tier base in plain PyTorch over that of orb-v2, for 216 atoms of silicon."""
    (row,) = rows_of("student_speed", model="student base, PyTorch", system="Si216", mode="single")
    return f"x{row['ratio']:.0f}"


@figure_of
def kilobytes_per_atom() -> str:
    """Memory of the kernel per atom with its neighbor list, over all sizes."""
    return span([row["bytes_per_atom"] / 1e3 for row in rows_of("student_scaling", what="memory", kind="Si")])


def _error(candidate: str) -> float:
    """Mean force error over valid and test; that of ``nano`` is the mean of three seeds."""
    names = ("nano", "nano, seed 1", "nano, seed 2") if candidate == "nano" else (candidate,)
    rows = [row for row in rows_of("pareto") if row["candidate"] in names]
    return fmean(row[f"{part}_forces_ev_per_angstrom"] for row in rows for part in ("valid", "test"))


def _time(candidate: str) -> float:
    (row,) = rows_of("pareto", candidate=candidate)
    return float(row["NaCl216_microseconds_per_atom"])


@figure_of
def pareto_speed() -> str:
    """Speed of all students but the largest over that of the public networks; their errors must be smaller."""
    ours = [row["candidate"] for row in rows_of("pareto", ours=True) if row["candidate"] != "xl"]
    others = [row["candidate"] for row in rows_of("pareto", ours=False)]
    assert max(map(_error, ours)) < min(map(_error, others)), "the sentence says so"  # noqa: S101
    return span([_time(other) / _time(one) for one in ours for other in others])


@figure_of
def pareto_minutes() -> str:
    """Minutes of training of each network."""
    (minutes,) = {row["minutes"] for row in rows_of("pareto")}
    return f"{minutes:g}"


def _epochs(candidate: str) -> str:
    (row,) = rows_of("pareto", candidate=candidate)
    return f"{row['epochs']:.0f}"


@figure_of
def epochs_of_painn() -> str:
    """Epochs that PaiNN completed in the time of all."""
    return _epochs("PaiNN 64")


@figure_of
def epochs_of_nano() -> str:
    """Epochs that nano completed in the time of all."""
    return _epochs("nano")


@figure_of
def epochs_of_xl() -> str:
    """Epochs that xl completed in the time of all."""
    return _epochs("xl")


@figure_of
def noise_of_seeds() -> str:
    """Spread of three seeds of nano over their mean, on both held-out parts."""
    seeds = [row for row in rows_of("pareto") if row["candidate"] in {"nano", "nano, seed 1", "nano, seed 2"}]
    found = []
    for part in ("valid", "test"):
        values = [row[f"{part}_forces_ev_per_angstrom"] for row in seeds]
        found.append(f"{per_cent((max(values) - min(values)) / fmean(values), 1)} on `{part}`")
    return " and by ".join(found)


def _gain(with_it: str, without: str) -> str:
    return per_cent(1 - _error(with_it) / _error(without), 1)


@figure_of
def gain_of_vectors() -> str:
    """Error that vectors take away."""
    return _gain("nano", "nano, no vectors")


@figure_of
def gain_of_degree_three() -> str:
    """Error that l = 3 takes away."""
    return _gain("nano, l = 3", "nano")


@figure_of
def gain_of_third_layer() -> str:
    """Error that a third layer takes away."""
    return _gain("nano, 3 layers", "nano")


@figure_of
def loss_of_one_layer() -> str:
    """Error that one layer adds to that of two."""
    return per_cent(_error("nano, 1 layer") / _error("nano") - 1, 1)


@figure_of
def price_of_degree_three() -> str:
    """Speed that l = 3 costs."""
    return per_cent(1 - _time("nano") / _time("nano, l = 3"))


@figure_of
def price_of_third_layer() -> str:
    """Speed that a third layer costs."""
    return per_cent(1 - _time("nano") / _time("nano, 3 layers"))


@figure_of
def seen_over_held_out() -> str:
    """Error of nano on its training set over that on held-out families."""
    (row,) = rows_of("pareto", candidate="nano")
    return per_cent(row["train_forces_ev_per_angstrom"] / _error("nano"))


@figure_of
def cost_of_expected_errors() -> str:
    """Time that expected errors add to a call of ``general``."""
    (row,) = rows_of("uncertainty", student="general", source="cost")
    return per_cent(max(0.0, row["call_over_one_without"] - 1), 1)
