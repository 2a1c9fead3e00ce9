"""Draw the pictures of README and documentation from the result files.

Start it with ``python docs/pictures.py``. Each picture is drawn from ``benchmarks/results`` only, so that it
changes with the figures and with nothing else.
"""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")
from matplotlib import pyplot as plt

ROOT = Path(__file__).resolve().parents[1]
TITLES = {"silicon": "silicon\n600 K", "molten_salt": "molten NaCl\n1,200 K", "water": "water\n330 K"}
MODELS = {"student nano": "student", "SevenNet-0": "SevenNet-0", "orb-v2-compiled": "orb-v2"}
TEAL, GRAY = "#00796b", "#9e9e9e"


def rows(name: str) -> list[dict]:
    """Rows of a result file."""
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))["rows"]


def draw(path: Path) -> None:
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
    bars = right.barh(list(MODELS.values())[::-1], times[::-1], color=[GRAY, GRAY, TEAL])
    right.bar_label(bars, fmt="%.0f ms", padding=3)
    right.set_xscale("log")
    right.set_xlim(1, 5e3)
    right.set_xlabel("one step of MD, ms")
    right.set_title("silicon, 216 atoms, two CPU cores", fontsize=10)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    draw(ROOT / "docs" / "images" / "result.png")
