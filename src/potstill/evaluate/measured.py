"""The result of a physics check: one figure of one system, the figures of both models, and curves to draw.

A row is stored in ``evaluate.json`` and judged by its gate (:mod:`potstill.evaluate.gates`), then and at any time later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from potstill.core.types import Array


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One quantity along a path, from both models; None for a model without it.

    Parameters
    ----------
    x_label, y_label
        Labels of the axes, with units.
    x, candidate, reference
        (k,) values each.
    marks
        Names of points along the path, with their places on x.
    """

    x_label: str
    y_label: str
    x: Array
    candidate: Array
    reference: Array | None = None
    marks: Sequence[tuple[float, str]] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One figure.

    Parameters
    ----------
    check
        Name of its gate.
    measured
        Figure in the unit of the gate. A value that is not finite never passes (and is None in JSON). None where it did not
        run.
    candidate, reference
        Values of both models that it was computed from, by name with its unit.
    curves
        Curves to draw, by name.
    why
        Reason for which it did not run, or origin of the figure.
    system
        Name of the system, filled in by the suite.
    applies
        False where the check can never apply to such a system.
    """

    check: str
    measured: float | None
    candidate: Mapping[str, float] = field(default_factory=dict)
    reference: Mapping[str, float] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    why: str = ""
    system: str = ""
    applies: bool = True

    def report(self) -> dict[str, Any]:
        """Return the row of ``evaluate.json``."""
        curves = {
            name: {
                "x_label": c.x_label,
                "y_label": c.y_label,
                **{key: _numbers(getattr(c, key)) for key in ("x", "candidate", "reference")},
                **({"marks": [[float(f"{x:.6g}"), text] for x, text in c.marks]} if c.marks else {}),
            }
            for name, c in self.curves.items()
        }
        return {
            "check": self.check,
            "system": self.system,
            "ran": self.measured is not None,
            "applies": self.applies,
            "measured": None if self.measured is None else float(self.measured),
            "candidate": {name: float(value) for name, value in self.candidate.items()},
            "reference": {name: float(value) for name, value in self.reference.items()},
            "curves": curves,
            "why": self.why,
        }

    @classmethod
    def of_report(cls, report: Mapping[str, Any]) -> Row:
        """Return the row of which :meth:`report` is the report."""
        curves = {
            name: Curve(
                c["x_label"],
                c["y_label"],
                np.array(c["x"]),
                np.array(c["candidate"]),
                None if c["reference"] is None else np.array(c["reference"]),
                marks=[(x, text) for x, text in c.get("marks", ())],
            )
            for name, c in report["curves"].items()
        }
        kept = {name: report[name] for name in ("check", "measured", "candidate", "reference", "why", "system", "applies")}
        return cls(**kept, curves=curves)


def of(atoms: Any, calculator: Any) -> Any:
    """Return a copy of ASE ``Atoms`` with a calculator."""
    copy = atoms.copy()
    copy.calc = calculator
    return copy


def relative(candidate: float, reference: float) -> float:
    """Return the difference over the size of the reference; infinite for a reference of zero unless both are zero."""
    if candidate == reference:
        return 0.0
    return abs(candidate - reference) / abs(reference) if reference else float("inf")


def _numbers(array: Array | None) -> list[float] | None:
    return None if array is None else [float(f"{x:.6g}") for x in np.asarray(array, float)]
