"""Draw the pictures of README and documentation from the result files, each for light and for dark pages.

Start it with ``python docs/pictures.py``. Each picture is drawn from ``benchmarks/results`` only, so that it
changes with the figures and with nothing else. ``NAME_dark.png`` is the picture ``NAME.png`` for dark pages.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")
from matplotlib import pyplot as plt

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
RESULTS = ROOT / "benchmarks" / "results"
TITLES = {
    "silicon": "silicon\n600 K",
    "copper_nickel": "Cu-Ni alloy\n600 K",
    "molten_salt": "molten NaCl\n1,200 K",
    "water": "water\n330 K",
}
MODELS = {
    "student nano": "student",
    "SevenNet-0, kernel": "SevenNet-0\nby our kernel",
    "SevenNet-0": "SevenNet-0",
    "orb-v2-compiled": "orb-v2",
}
TEAL, GRAY = "#26a69a", "#9e9e9e"
DARK_PAPER = "#1e2129"  # of the pages' dark scheme
PICTURES: dict[str, Callable[[Path], None]] = {}


def picture(draw: Callable[[Path], None]) -> Callable[[Path], None]:
    """Register a function that draws the picture of its name into a file."""
    PICTURES[draw.__name__] = draw
    return draw


def rows(name: str) -> list[dict[str, Any]]:
    """Rows of a result file."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["rows"]


@contextmanager
def paper(*, dark: bool) -> Iterator[None]:
    """Draw on the paper of light or of dark pages meanwhile."""
    style = ["default", "dark_background"] if dark else ["default"]
    changes = {"figure.facecolor": DARK_PAPER, "axes.facecolor": DARK_PAPER, "savefig.facecolor": DARK_PAPER} if dark else {}
    with plt.style.context([*style, changes]):
        yield


@picture
def result(path: Path) -> None:
    """Draw force errors beside mean forces, and times of MD steps."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    found = {row["system"]: row for row in rows("my_system") if not row.get("start")}
    for k, system in enumerate(TITLES):
        row = found[system]
        left.bar(k - 0.2, row["mean_force_component_mev_per_angstrom"], 0.4, color=GRAY)
        bar = left.bar(k + 0.2, row["force_mae_mev_per_angstrom"], 0.4, color=TEAL)
        left.bar_label(bar, fmt="%.0f")
    left.set_xticks(range(len(TITLES)), TITLES.values())
    left.set_ylabel("meV/Å")
    left.set_title("mean force (gray), the student's error in 50 ps of MD", fontsize=10)

    steps = {row["model"]: row for row in rows("student_speed") if row["system"] == "Si216" and row["mode"] == "md"}
    times = [1e3 * steps[model]["seconds"] for model in MODELS]
    bars = right.barh(list(MODELS.values())[::-1], times[::-1], color=[*(len(MODELS) - 1) * [GRAY], TEAL])
    right.bar_label(bars, fmt="%.0f ms", padding=3)
    right.set_xscale("log")
    right.set_xlim(1, 5e3)
    right.set_xlabel("one step of MD, ms")
    right.set_title("silicon, 216 atoms, two CPU cores", fontsize=10)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


@picture
def tutorial(path: Path) -> None:
    """Draw the production MD of the tutorial: temperature, expected error, radial distribution, forces beside forces."""
    (step,) = (row for row in rows("tutorial") if row["step"] == "production")
    md, rdf, forces = (step["curves"][name] for name in ("md", "rdf", "forces"))
    figure, grid = plt.subplots(2, 2, figsize=(9, 5.6), layout="constrained")
    upper, parity, lower, radial = grid.flat
    upper.plot(md["time_ps"], md["temperature_kelvin"], color=TEAL)
    upper.axhline(step["result"]["kelvin"], color=GRAY, linewidth=0.8)
    upper.set(ylabel="temperature, K", xlabel="time, ps")
    lower.plot(md["time_ps"], md["largest_expected_error_ev_per_angstrom"], color=TEAL)
    lower.set(ylabel="largest expected\nforce error, eV/Å", xlabel="time, ps", ylim=(0, None))
    radial.plot(rdf["distance_angstrom"], rdf["g"], color=TEAL)
    radial.set(xlabel="distance, Å", ylabel="g(r)")
    teacher, student = forces["teacher_ev_per_angstrom"], forces["student_ev_per_angstrom"]
    parity.plot([min(teacher), max(teacher)], [min(teacher), max(teacher)], color=GRAY, linewidth=0.8)
    parity.plot(teacher, student, ".", markersize=3, color=TEAL)
    parity.set(xlabel="force by the teacher, eV/Å", ylabel="force by the student, eV/Å")
    for axes in grid.flat:
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


@picture
def learning_curve(path: Path) -> None:
    """Draw errors on held-out families against the number of labels."""
    from benchmarks.labelled.learning_curve import draw

    draw(path)


@picture
def pareto(path: Path) -> None:
    """Draw the force error on held-out families against speed."""
    from benchmarks.labelled.pareto import draw

    draw(rows("pareto"), path)


def draw_all(folder: Path) -> None:
    """Draw every picture in both ways into a folder."""
    sys.path.insert(0, str(ROOT))
    for name, draw in PICTURES.items():
        for ending, dark in (("", False), ("_dark", True)):
            with paper(dark=dark):
                draw(folder / f"{name}{ending}.png")


if __name__ == "__main__":
    draw_all(IMAGES)
