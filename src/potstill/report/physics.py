"""Physics on the page ``evaluate.html``: the figures behind the gates as a table, and curves of both models.

The input is the rows of ``evaluate.json``, the output markup.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from potstill.report import plots
from potstill.report.page import readable

Rows = Sequence[Mapping[str, Any]]

SHOWN = {
    "bulk_modulus": "Energy of scaled cells.",
    "phonons": "Phonon bands along the path of the lattice.",
    "vibrations": "Wave numbers of the molecule, sorted.",
    "torsions": "Energy along rigid turns about bonds.",
    "rdf": "Distances between atoms in dynamics, from the same start with the same random numbers.",
    "adf": "Angles between neighbors in dynamics.",
    "vdos": "Vibrational density of states in dynamics.",
    "dimers": "Two atoms pulled apart. Atoms alone in vacuum are far from most data, so no gate limits its depth.",
}
PANELS = 12


def physics_figures(rows: Rows) -> dict[str, tuple[Markup | None, str]]:
    """Return each figure with its caption, by the name of its check."""
    return {name: (_figure(name, rows), caption) for name, caption in SHOWN.items()}


def physics_table(rows: Rows) -> list[dict[str, Any]]:
    """Return one line for each quantity of each system, with the values of student and teacher."""
    return [
        {
            "check": readable(row["check"]),
            "system": row["system"],
            "quantity": quantity,
            "student": row["candidate"].get(quantity),
            "teacher": row["reference"].get(quantity),
        }
        for row in rows
        for quantity in dict.fromkeys([*row["candidate"], *row["reference"]])
    ]


def _figure(check: str, rows: Rows) -> Markup | None:
    panels: dict[str, list[plots.Panel]] = {}
    marks: dict[str, list[tuple[float, str]]] = {}
    labels = ("", "")
    for row in rows:
        if row["check"] != check:
            continue
        for name, curve in row["curves"].items():
            alone = check in ("torsions", "dimers")  # a panel for each curve, not for each system
            title = name if alone else row["system"]
            panels.setdefault(title, []).append((curve["x"], curve["candidate"], curve["reference"]))
            labels = (curve["x_label"], curve["y_label"])
            if "marks" in curve:
                marks[title] = [(place, text) for place, text in curve["marks"]]
    first = dict(list(panels.items())[:PANELS])
    many = check == "dimers" and len(first) > 1
    return plots.beside(first, *labels, columns=2 if many else 1, clip=check == "dimers", marks=marks)
