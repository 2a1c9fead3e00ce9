"""The error of the general student by the number of labels.

    python -m benchmarks.labelled.learning_curve DATASET [--counts 1000 2000 5000 10000] [--seeds 1] [--keep FOLDER]

DATASET is a labelled and split ``dataset.h5``, as ``medium_10k`` makes it. The student and its training are those of
the template ``medium_10k``. Structures are drawn at random from ``train``; the largest count is all of it. All students take
as many steps as that one, and are held against ``valid`` and ``test``. Results in ``results/learning_curve.json``; counts
that are not measured again stay. ``--draw`` draws them and ``results/painn.json`` into ``docs/images/learning_curve.png``.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks.lib.common import RESULTS, write_results
from benchmarks.lib.held_out import fit, held_out_of, training_part

from potstill.config import load_config
from potstill.dataset import Dataset
from potstill.label.options import SelectOptions
from potstill.label.select import choose

ROOT = Path(__file__).resolve().parents[2]
CONFIG, PICTURE = (
    ROOT / "src" / "potstill" / "templates" / "medium_10k.yaml",
    ROOT / "docs" / "images" / "learning_curve.png",
)


def main() -> None:
    """Measure, draw, or both."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("dataset", type=Path, nargs="?")
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 2000, 5000, 10_000])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--keep", type=Path, help="folder for the students")
    parser.add_argument("--draw", action="store_true", help="draw what was measured")
    options = parser.parse_args()
    if options.dataset is not None:
        measure(options)
    if options.draw:
        draw(PICTURE)


def measure(options: argparse.Namespace) -> None:
    """One student for each number of labels and seed."""
    dataset, config = Dataset(options.dataset), load_config(CONFIG)
    held_out = held_out_of(dataset)
    with training_part(dataset) as training:
        for wanted, seed in [(c, s) for c in options.counts for s in options.seeds]:
            count = min(wanted, len(training))
            train = config.train.model_copy(
                update={"epochs": round(config.train.epochs * len(training) / count), "uncertainty": False}
            )
            chosen = choose(training, SelectOptions(count=count, by="random"), seed=seed)
            keep = options.keep and options.keep / f"{wanted}-{seed}"
            row = {"seed": seed, **fit(training.gather(chosen), config.student, train, held_out, seed=seed, keep=keep)}
            print(json.dumps(row), file=sys.stderr, flush=True)
            path = write_results("learning_curve", [row], keep=("labels", "seed"))
    print(path)


def draw(picture: Path) -> None:
    """Errors of forces and energies against the number of labels, both axes logarithmic."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    rows, (painn,) = (json.loads((RESULTS / f"{name}.json").read_text())["rows"] for name in ("learning_curve", "painn"))
    rows.sort(key=lambda row: row["labels"])
    figure, panels = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
    for axes, column, factor, title in (
        (panels[0], "of_mean_force", 100, "force error, % of the mean force"),
        (panels[1], "energy_mev_per_atom", 1, "energy error, meV/atom"),
    ):
        labels = [row["labels"] for row in rows]
        axes.plot(labels, [factor * row[column] for row in rows], "o-", label="student")
        axes.plot([painn["labels"]], [factor * painn[column]], "s", color="tab:orange", label="PaiNN, the same time")
        axes.set(xscale="log", yscale="log", xlabel="labels", title=title)
        axes.set_xticks(labels, [f"{n:,}" for n in labels])
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_formatter(mpl.ticker.NullFormatter())
        axes.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=range(1, 10)))
        axes.yaxis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:.0f}"))
        axes.grid(visible=True, which="both", alpha=0.25)
    panels[0].legend(fontsize=8)
    figure.suptitle("Held-out families", fontsize=10)
    figure.savefig(picture, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
