"""Figures within sentences on how errors depend on the labels, from result files."""

from __future__ import annotations

from typing import Any

from result_tables.base import figure_of, per_cent, result, rounded, rows_of, span

EASY = ("molecules", "torsions", "mutants", "liquids", "perturb")
HARD = ("crystals", "prototypes", "surfaces")


def _all_labels() -> dict[str, Any]:
    return max(rows_of("learning_curve"), key=lambda row: row["labels"])


@figure_of
def seen_error() -> str:
    """Error of the student on its training set of 8,299, over the mean force."""
    return per_cent(_all_labels()["seen_of_mean_force"])


@figure_of
def times_seen() -> str:
    """Times that each label was seen in the training on all of them."""
    return f"{_all_labels()['epochs']}"


@figure_of
def energy_of_crystals() -> str:
    """Error of the energy of crystals with all labels, in meV per atom."""
    return rounded(_all_labels()["per_source"]["crystals"]["energy_mev_per_atom"])


def _errors_of(sources: tuple[str, ...]) -> str:
    found = _all_labels()["per_source"]
    return span([100 * found[source]["of_mean_force"] for source in sources]) + " %"


@figure_of
def errors_of_easy_sources() -> str:
    """Force errors of molecules, liquids and structures near equilibrium over the mean force."""
    return _errors_of(EASY)


@figure_of
def errors_of_hard_sources() -> str:
    """Force errors of crystals and surfaces over the mean force."""
    return _errors_of(HARD)


def _hessian(way: str, column: str) -> float:
    (row,) = rows_of("hessian", way=way, labels=30)
    return float(row[column])


@figure_of
def gain_of_products() -> str:
    """Force error that Hessian-vector products take away with 30 labels."""
    return per_cent(1 - _hessian("with products", "of_mean_force") / _hessian("without", "of_mean_force"))


@figure_of
def price_of_products() -> str:
    """Time of a training with products over that without."""
    return rounded(_hessian("with products", "train_seconds") / _hessian("without", "train_seconds"))


@figure_of
def few_labels_count() -> str:
    """Labels of the comparison of ways to train on few labels, and the frames that judge them."""
    row = result("few_labels")["rows"][0]
    return f"{row['labels']} labels and held against {row['frames']} frames"
