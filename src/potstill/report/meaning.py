"""Groups of the gates of the evaluation, and for each gate what a failure means for a use of the student.

The input is findings of ``evaluate.json``, the output groups for a page and counts for a sentence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from potstill.core.verdict import Verdict, is_failure, is_pass
from potstill.report.unjudged import Unjudged, unjudged


@dataclass(frozen=True, slots=True)
class Theme:
    """Theme of a group of gates.

    Parameters
    ----------
    of
        End of the sentence that says what was judged.
    parts
        For each gate, the part of the theme that it judges.
    """

    of: str
    parts: Mapping[str, str]


GROUPS = {
    "errors": Theme(
        "beside the teacher's",
        {
            "force_error": "forces",
            "energy_error": "energies",
            "stress_error": "stresses",
            "relaxed_positions": "relaxed geometries",
        },
    ),
    "solids": Theme(
        "of crystals",
        {
            "equilibrium_volume": "volumes",
            "relaxed_cell": "volumes",
            "bulk_modulus": "elasticity",
            "elastic_constants": "elasticity",
            "vacancies": "defects",
            "surfaces": "surfaces",
            "phonons": "phonons",
        },
    ),
    "molecules": Theme("of molecules", {"vibrations": "vibrations", "torsions": "torsions"}),
    "dynamics": Theme(
        "of molecular dynamics",
        {
            "rdf": "structure",
            "adf": "structure",
            "vdos": "vibrations",
            "pressure": "pressure",
            "wide_cell": "wide cells",
            "nve": "stability",
            "nvt": "stability",
            "npt": "stability",
        },
    ),
    "sanity": Theme("properties of any sound potential", {}),
}

_FORCES = "relaxed geometries, barriers and trajectories differ from the teacher's; take them as a first guess only"
MEANINGS: dict[str, tuple[str, str]] = {
    "start_leakage": ("errors", "the errors are too small: part of what judges it was trained on by its start"),
    "force_error": ("errors", _FORCES),
    "force_error_element": ("errors", "do not trust structures in which this element takes part"),
    "softening": (
        "errors",
        "barriers, frequencies and elastic constants are all too low, or all too high",
    ),
    "force_direction": ("errors", "relaxations and trajectories take other paths than the teacher's"),
    "energy_error": ("errors", "do not rank polymorphs, conformers or compositions by its energies"),
    "stress_error": ("errors", "cell relaxation, NPT dynamics and pressures are not reliable"),
    "equilibrium_volume": ("solids", "lattice constants and densities are off"),
    "bulk_modulus": ("solids", "do not use it for compression or equations of state"),
    "elastic_constants": ("solids", "do not use it for elastic or mechanical properties"),
    "vacancies": ("solids", "do not use it for vacancies and diffusion in solids"),
    "surfaces": ("solids", "do not use it for surface energies, cleavage or particle shapes"),
    "relaxed_cell": ("solids", "cells relaxed by it differ from the teacher's: relax again with the teacher"),
    "phonons": ("solids", "do not use it for phonons, heat capacities or thermal conductivity"),
    "relaxed_positions": ("errors", "geometries relaxed by it differ from the teacher's: relax again with the teacher"),
    "vibrations": ("molecules", "do not use it for infrared spectra or vibrational free energies"),
    "torsions": ("molecules", "do not use it for conformers or rotational barriers"),
    "nve": (
        "dynamics",
        "energy conservation is bad or unknown: use a thermostat and a short timestep",
    ),
    "rdf": ("dynamics", "distances between atoms in dynamics differ from the teacher's: no liquids or melts"),
    "adf": ("dynamics", "angles between bonds in dynamics differ from the teacher's"),
    "vdos": ("dynamics", "do not use it for spectra from dynamics"),
    "pressure": ("dynamics", "pressures in dynamics are off: no NPT, no densities"),
    "wide_cell": ("dynamics", "its errors are larger in wide cells than in the small ones of its data: label wider cells"),
    "nvt": ("dynamics", "hot dynamics is not stable: do not heat it beyond the temperatures of its data"),
    "npt": ("dynamics", "the cell drifts at constant pressure: stay with constant volume"),
    "systems": ("sanity", "some checks had no system to look at, so that their properties are unknown"),
    "physics": ("sanity", "no property was checked beside the teacher, so that none is known"),
    "force_slope": ("sanity", "its forces are not the slope of its energy: do not use it"),
    "stress_slope": ("sanity", "its stress is not the slope of its energy: no cell relaxation, no NPT"),
    "closed_loop": ("sanity", "work along a closed loop does not vanish: do not use it for dynamics or free energies"),
    "invariance": ("sanity", "results depend on orientation or order of the atoms: do not use it"),
    "extensivity": ("sanity", "energies depend on the size of the cell: do not compare cells of different size"),
    "locality": ("sanity", "distant atoms interact: adsorption energies and interfaces are not reliable"),
    "smoothness": ("sanity", "forces jump with distance: energy drifts in dynamics, and relaxations may not converge"),
    "fused_pairs": ("sanity", "two atoms can fuse: no high temperatures, no radiation damage, no structure search"),
    "endurance": ("sanity", "odd structures give no finite answer: no structure search"),
    "dimers": ("sanity", "pairs of atoms far from the data attract or repel wrongly: no gas phase, no dissociation"),
}


@dataclass(frozen=True, slots=True)
class Group:
    """The gates of one kind: their findings that failed with their meaning, and counts.

    Parameters
    ----------
    name, about
        Name and one sentence.
    failed
        Pairs of a finding and what it means for a use.
    passed, asked
        Number of gates that passed, and of gates without those that do not apply.
    unjudged
        Gates that were not judged, by reason.
    """

    name: str
    about: str
    failed: tuple[tuple[Mapping[str, Any], str], ...]
    passed: int
    asked: int
    unjudged: tuple[Unjudged, ...] = ()


def meaning_of(check: str) -> tuple[str, str]:
    """Return the group of a gate and what its failure means for a use; the gates of a source or kind have a longer name.

    >>> meaning_of("force_error_crystals")[1]
    'do not trust structures like those of the source crystals'
    """
    if check in MEANINGS:
        return MEANINGS[check]
    if check.startswith("force_error_"):
        return "errors", f"do not trust structures like those of the source {check.removeprefix('force_error_')}"
    if check.startswith("nve_"):
        return MEANINGS["nve"]
    return "sanity", "this property is not the teacher's"


def grouped(report: Mapping[str, Any]) -> list[Group]:
    """Return the groups of an evaluation with a gate that applies, or one that was not judged, in their order."""
    found = []
    for name, theme in GROUPS.items():
        own = [f for f in report.get("findings", []) if meaning_of(f["check"])[0] == name]
        failed = tuple((f, _meaning(f)) for f in own if is_failure(f["verdict"]))
        met = [f for f in own if is_pass(f["verdict"])]
        skipped = [(u.reason, tuple(c for c in u.checks if meaning_of(c)[0] == name)) for u in unjudged(report)]
        left = tuple(Unjudged(reason, checks) for reason, checks in skipped if checks)
        if met or failed or left:
            about = _about(theme, [f["check"] for f in [*met, *(f for f, _ in failed)] if f["verdict"] != Verdict.NOT_RUN])
            found.append(Group(name, about, failed, len(met), len(met) + len(failed), left))
    return found


def _meaning(finding: Mapping[str, Any]) -> str:
    """Return what a failure means for a use; of what was not measured, that nothing is known."""
    if finding["verdict"] == Verdict.NOT_RUN and finding["check"] not in ("systems", "physics"):
        return "it was not measured, so nothing is known of it"
    return meaning_of(finding["check"])[1]


def _about(theme: Theme, judged: Sequence[str]) -> str:
    """Return what of a theme was judged, as a sentence; empty where that was nothing.

    >>> _about(GROUPS["errors"], ["force_error", "energy_error"])
    "Forces and energies beside the teacher's."
    """
    names = {"nve" if check.startswith("nve_") else check for check in judged}
    parts = list(dict.fromkeys(part for check, part in theme.parts.items() if check in names))
    if not judged or not parts:
        return f"{theme.of[0].upper()}{theme.of[1:]}." if judged and not theme.parts else ""
    listed = " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
    return f"{listed[0].upper()}{listed[1:]} {theme.of}."


def counts_by_group(findings: Sequence[Mapping[str, Any]]) -> str:
    """Return the number of failures in each group as text, such as ``errors 2, solids 1``; empty where there is none."""
    counts = Counter(meaning_of(f["check"])[0] for f in findings if is_failure(f["verdict"]))
    return ", ".join(f"{name} {counts[name]}" for name in GROUPS if counts[name])


def failure_of(finding: Mapping[str, Any]) -> str:
    """Return a failure in one line: check, figure against limit, reason, and the first structure to look at."""
    worst = next(iter(finding.get("worst", ())), "")
    first = f"; first {worst}" if worst and worst not in finding["why"] else ""
    return f"{finding['check']}: {figure_of(finding)}. {finding['why']}{first}"


def figure_of(finding: Mapping[str, Any]) -> str:
    """Return the figure of a finding against its limit, in words."""
    if finding["measured"] is None:
        return "did not run" if finding["limit"] is None else f"no finite figure against {finding['limit']:.4g}"
    return f"{finding['measured']:.4g} {finding['unit']} against {finding['limit']:.4g}"
