"""Advice where active learning ended without meeting its gate: reports of the rounds in, one sentence out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from potstill.core.counts import several

STILL_FALLING = 0.85  # error of the last round over the best error before: below it, more rounds help
UNEVEN = 2.0  # error at the worst temperature over that at the best: above it, the hottest trajectories decide
CAUSES = {
    "too_close": "atoms came too close",
    "exploded": "a force or the temperature left its limits",
    "failed": "positions were no longer numbers",
}
MOST_NAMED = 3
LIMIT = "active_learning.max_force_error_ev_per_angstrom"


def unmet(reports: Sequence[dict[str, Any]]) -> str:
    """Return the gate that the last round did not meet, with its figures; empty where it met them or there is no round.

    Parameters
    ----------
    reports
        Contents of each ``round.json``.
    """
    if not reports or reports[-1]["passed"]:
        return ""
    last = reports[-1]
    mae, limit = last["forces"]["mae"], last["forces"]["limit"]
    broke = how_it_broke(last)
    if mae is None:
        nothing = f"no frame of the student's own MD could be judged in round {last['round']}"
        return f"{nothing}: {broke}" if broke else nothing
    if mae <= limit:
        return f"in round {last['round']}, {broke}"
    too_large = f"the force MAE in the student's own MD was {mae:.3g} eV/Å in round {last['round']}, {LIMIT} is {limit:g}"
    return f"{too_large}; {broke}" if broke else too_large


def how_it_broke(report: Mapping[str, Any]) -> str:
    """Return how many trajectories of a round broke off, and of the first ones why, when and at which temperature.

    Parameters
    ----------
    report
        Contents of one ``round.json``.

    Returns
    -------
    str
        Words to follow a colon; empty where every trajectory finished.
    """
    broken = sorted((t for t in report["trajectories"] if t["ended"] != "finished"), key=lambda t: float(t["length_ps"]))
    if not broken:
        return ""
    named = "; ".join(
        f"{CAUSES.get(t['ended'], t['ended'])} after {t['length_ps']:.3g} ps at {t['temperature_kelvin']:g} K"
        for t in broken[:MOST_NAMED]
    )
    more = f"; {len(broken) - MOST_NAMED} more" if len(broken) > MOST_NAMED else ""
    return f"{len(broken)} of {several(len(report['trajectories']), 'trajectory')} broke off ({named}{more})"


def what_would_help(reports: Sequence[dict[str, Any]]) -> str:
    """Return what would help a student that did not meet its gate.

    Parameters
    ----------
    reports
        Contents of each ``round.json``; the last one did not pass.
    """
    last = reports[-1]
    errors = [r["forces"]["mae"] for r in reports if r["forces"]["mae"] is not None]
    if last["broken_trajectories"]:
        hot = {t["temperature_kelvin"] for t in last["trajectories"] if t["ended"] != "finished"}
        named = ", ".join(f"{kelvin:g}" for kelvin in sorted(hot))
        return f"trajectories broke off at {named} K: raise active_learning.max_rounds, or lower temperatures_kelvin"
    if len(errors) < 2:
        return "one round does not tell whether the error falls: raise active_learning.max_rounds"
    if errors[-1] < STILL_FALLING * min(errors[:-1]):
        return "the error still falls: raise active_learning.max_rounds"
    by_kelvin = {row["kelvin"]: row["mae"] for row in last.get("by_temperature", [])}
    if len(by_kelvin) > 1 and max(by_kelvin.values()) > UNEVEN * min(by_kelvin.values()):
        worst = max(by_kelvin, key=lambda kelvin: by_kelvin[kelvin])
        where = f"the error is largest at {worst:g} K ({by_kelvin[worst]:.3g} eV/Å)"
        return f"{where}: leave that temperature out where you do not need it, or raise active_learning.frames"
    return "the error no longer falls: raise active_learning.epochs, or take a larger student.tier"
