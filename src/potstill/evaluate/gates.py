"""Gates of the evaluation: the figure of each, its unit and its limit.

Takes the stored report and returns findings; the same figures can be judged again by other limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from potstill.core.verdict import Finding, at_most, changed_gates, does_not_apply, not_run
from potstill.evaluate.errors import ZERO_FORCE

if TYPE_CHECKING:
    from potstill.evaluate.options import EvaluateConfig


@dataclass(frozen=True, slots=True)
class Gate:
    """Largest accepted figure of one physics check.

    Parameters
    ----------
    limit
        Limit where the config states none.
    unit
        Unit of figure and limit.
    says
        Description of the figure.
    """

    limit: float
    unit: str
    says: str


ROUNDING = 1e-6  # eV/atom: a smaller error of the composition alone is none
_OF_LARGEST = "of the largest force, or of 1 eV/Å"
GATES: dict[str, Gate] = {
    "systems": Gate(0, "systems", "systems wanted for the physics checks that were not found"),
    "force_slope": Gate(0.03, _OF_LARGEST, "forces against central differences of the energy"),
    "stress_slope": Gate(0.03, "of the largest, or of 1 eV", "stress times volume against differences under strain"),
    "closed_loop": Gate(2e-3, "of the work on the way", "work along a closed loop through all coordinates"),
    "invariance": Gate(1e-3, _OF_LARGEST, "change of the forces by rotation, translation and order of the atoms"),
    "extensivity": Gate(0.1, "meV/atom", "energy per atom of one cell against two, of one molecule against two far apart"),
    "locality": Gate(0.02, "of the change of forces", "share of the change of forces beyond 12 Å of a moved atom"),
    "smoothness": Gate(0.01, "eV/Å", "largest kink of the force between two atoms, from contact to beyond the cutoff"),
    "fused_pairs": Gate(0, "pairs", "pairs at 0.5-0.7 of their covalent radii that only the reference repels"),
    "endurance": Gate(0, "structures", "odd structures without a finite answer: strained by 50 %, in vacuum, one atom"),
    "equilibrium_volume": Gate(3, "%", "volume at the minimum of the equation of state"),
    "bulk_modulus": Gate(15, "%", "bulk modulus of the equation of state"),
    "elastic_constants": Gate(20, "%", "distance of the tensors of elastic constants, clamped ions"),
    "vacancies": Gate(0.3, "eV", "energy to take out one atom, not relaxed; the worst element"),
    "surfaces": Gate(20, "%", "energy of cleaving along (100), (110), (111), not relaxed; the worst plane"),
    "phonons": Gate(10, "%", "mean gap of the frequencies on a mesh over their mean"),
    "vibrations": Gate(10, "%", "mean gap of a molecule's frequencies over their mean"),
    "torsions": Gate(43, "meV", "energies along rigid turns about bonds, root mean square"),
    "dimers": Gate(
        0, "pairs", "pairs of atoms whose force changes sign more often than the reference's, or that lack its well of 1 eV"
    ),
    "relaxed_cell": Gate(5, "%", "largest gap of volume and cell lengths after relaxation by each"),
    "relaxed_positions": Gate(0.1, "Å", "distance of atoms after relaxation by each, root mean square"),
    "rdf": Gate(0.05, "Å", "Wasserstein distance of pair distances in dynamics, less that of two runs"),
    "adf": Gate(3, "degrees", "Wasserstein distance of angles between neighbors in dynamics, less that of two runs"),
    "vdos": Gate(1, "THz", "Wasserstein distance of the vibrational densities of states, less that of two runs"),
    "pressure": Gate(1, "GPa", "Wasserstein distance of the pressures, less that of two runs"),
    "wide_cell": Gate(1.5, "times", "relative force error in dynamics in a wide cell over that in the cell of the data"),
    "nvt": Gate(25, "%", "hot run: mean temperature off the thermostat's, beyond chance; not finite where two atoms fused"),
    "npt": Gate(10, "%", "change of the volume at no pressure"),
}


def changed_limits(config: EvaluateConfig) -> dict[str, dict[str, Any]]:
    """Return the limits that differ from the defaults, with both values: options of the section, and ``limits`` by check."""
    options = {name: values for name, values in changed_gates(config).items() if name.startswith(("max_", "min_"))}
    checks = {name: {"default": GATES[name].limit, "now": limit} for name, limit in config.limits.items()}
    return options | {name: values for name, values in checks.items() if values["default"] != values["now"]}


OF_ANY = ("force_slope", "closed_loop", "invariance", "extensivity", "locality", "endurance")
OF_CRYSTALS = (
    *("stress_slope", "equilibrium_volume", "bulk_modulus", "elastic_constants", "vacancies", "surfaces"),
    *("relaxed_cell", "relaxed_positions", "phonons"),
)
OF_MOLECULES = ("vibrations", "torsions", "relaxed_positions")
OF_PAIRS = ("smoothness", "fused_pairs", "dimers")
OF_STUDENT = (*OF_ANY, "stress_slope", "nvt", "npt", "smoothness")  # these ask the student alone
NO_TEACHER = "the labels came with the user's files: there is no teacher to compare with"
AT_LEAST_ONE = "no crystal was held out, or the evaluation is older than this check: potstill evaluate RUN"
KINDS = ("crystals", "molecules")
NEEDS = {"surfaces": "surfaces", "vacancies": "vacancies", "dimers": "pairs"}  # what the training data must contain
CALLED = {"surfaces": "surfaces", "vacancies": "atoms that lack a neighbor", "pairs": "pairs of atoms alone"}


def asked_of(kind: str, config: EvaluateConfig) -> tuple[str, ...]:
    """Return the physics checks that a config requests for crystals or for molecules, whether they can run or not."""
    crystals = kind == "crystals"
    if not (config.physics_crystals if crystals else config.physics_molecules):
        return ()
    motion = ("rdf", "adf", "vdos", *(("pressure", "wide_cell") if crystals else ())) if config.physics_ps else ()
    stability = ("nvt", *(("npt",) if crystals else ())) if config.stability_ps else ()
    return ("systems", *OF_ANY, *(OF_CRYSTALS if crystals else OF_MOLECULES), *motion, *stability)


def judge(report: Mapping[str, Any], config: EvaluateConfig) -> list[Finding]:
    """Return a finding for each gate on the figures of ``evaluate.json``; other limits can be judged at any later time.

    The config alone decides the list of gates. A gate without its figure is NOT_RUN. One that has no systems in such data
    does not apply.
    """
    judging = "structures of the file" if "models" in report else "held-out structures"
    findings = [
        *_start_gate(report),
        _force_gate("force_error", report["forces"], config.max_force_error_ratio, f"all {judging}"),
        *_error_gates(report, config),
    ]
    for name, figures in report["per_source"].items():
        limit = config.max_force_error_ratio_per_source
        findings.append(_force_gate(f"force_error_{name}", figures["forces"], limit, f"{judging} of {name}"))
    return [*findings, *_element_gate(report, config), *_nve_gates(report, config), *_physics_gates(report, config)]


def _start_gate(report: Mapping[str, Any]) -> list[Finding]:
    """Judge that the start of the training has seen no held-out structure, where its training data are at hand."""
    start = report.get("start") or {}
    if start.get("seen") is None:
        return []
    why = (
        f"of {start['held_out']} held-out structures, those that the start {start['name']} was trained on, or their families"
    )
    return [at_most("start_leakage", start["seen"], 0, "structures", why)]


def _nve_gates(report: Mapping[str, Any], config: EvaluateConfig) -> list[Finding]:
    """Judge the drift of the total energy, of a crystal and of a molecule where the data contain them."""
    found = []
    for row in report["nve"]:
        drift = row["drift_mev_per_atom"] if row["finite"] else float("inf")
        what = f"{row['kind']} {row['system']}, {row['atoms']} atoms"
        why = f"{what}, {row['steps']} steps of {row['timestep_fs']} fs from {config.nve_temperature_kelvin:g} K"
        found.append(at_most(f"nve_{row['kind']}", drift, config.max_nve_drift_mev_per_atom, "meV/atom", why))
    if not found and not config.nve_ps:
        return [does_not_apply("nve", "meV/atom", "no constant-energy run was asked for: nve_ps is 0")]
    had = {row["kind"] for row in report["nve"]}
    for kind in KINDS:
        name = kind.removesuffix("s")
        if name not in had and report.get("kinds", {}).get(kind):
            found.append(
                not_run(f"nve_{name}", "meV/atom", f"no held-out structure to start from, although there are {kind}")
            )
    return found or [not_run("nve", "meV/atom", "no held-out structure of two atoms or more to start from")]


def _physics_gates(report: Mapping[str, Any], config: EvaluateConfig) -> list[Finding]:
    """Return one finding per physics check that was requested or has a figure, in the order of the gates."""
    rows = _by_check(report.get("physics", []))
    findings = {check: _physics_gate(of_check, config) for check, of_check in rows.items()}
    if "kinds" in report:
        for check, finding in _without_figure(report, config).items():
            findings.setdefault(check, finding)
    elif "physics" in report and not rows and (config.physics_crystals or config.physics_molecules):
        return [not_run("physics", "", "no teacher was available, or no held-out structure was small enough")]
    kinds = report.get("kinds", {})
    for check, needed in NEEDS.items():
        if check in findings and check not in config.limits and not kinds.get(needed, True):
            findings[check] = _beyond_the_data(findings[check], CALLED[needed])
    return [findings[name] for name in GATES if name in findings]


def _beyond_the_data(finding: Finding, needed: str) -> Finding:
    """Return that a gate does not apply to a student whose training data lack something, with the figure all the same."""
    why = f"the training data contain no {needed}"
    if finding.measured is not None:
        why += f"; measured all the same: {finding.measured:.3g} {finding.unit}, limit {finding.limit:g}"
    return does_not_apply(finding.check, finding.unit, why)


def _without_figure(report: Mapping[str, Any], config: EvaluateConfig) -> dict[str, Finding]:
    """Return findings of all requested checks for the case that a check has no figure."""
    found: dict[str, Finding] = {}
    kinds = report["kinds"]
    teacher, given = report.get("teacher_asked", True), report.get("labels_given", False)
    for kind in sorted(KINDS, key=lambda kind: not kinds.get(kind)):  # kinds that the data contain come first
        for name in asked_of(kind, config):
            unit = GATES[name].unit
            if not teacher and name not in OF_STUDENT:
                finding = _without_teacher(name, given=given)
            elif kinds.get(kind):
                why = AT_LEAST_ONE if name == "wide_cell" else f"no held-out one of the {kind} could be used; see systems"
                finding = not_run(name, unit, why)
            elif name in OF_ANY and not any(kinds.get(other) for other in KINDS):
                finding = not_run(
                    name, unit, "the data contain neither molecules nor structures periodic in three directions"
                )
            else:
                finding = does_not_apply(name, unit, f"the data contain no {kind}")
            found.setdefault(name, finding)
    for name in OF_PAIRS if config.physics_pairs else ():
        found[name] = not_run(name, GATES[name].unit, "no pair of atoms was checked")
        if not teacher and name not in OF_STUDENT:
            found[name] = _without_teacher(name, given=given)
    return found


def _without_teacher(name: str, *, given: bool) -> Finding:
    unit = GATES[name].unit
    return does_not_apply(name, unit, NO_TEACHER) if given else not_run(name, unit, "no teacher was available")


def _error_gates(report: Mapping[str, Any], config: EvaluateConfig) -> list[Finding]:
    """Judge softening, direction of forces, energy and stress; reports of earlier versions may lack some."""
    found = []
    forces, energy, stress = report["forces"], report.get("energy", {}), report.get("stress", {})
    if forces.get("slope") is not None:
        why = f"student's forces are {forces['slope']:.3f} times the teacher's in the mean"
        found.append(
            at_most("softening", abs(1 - forces["slope"]), config.max_softening, "distance of the slope from 1", why)
        )
    if forces.get("mean_cosine") is not None:
        why = f"mean cosine of the angle between the forces of student and teacher: {forces['mean_cosine']:.3f}"
        found.append(at_most("force_direction", 1 - forces["mean_cosine"], config.max_force_cosine_gap, "1 - cosine", why))
    baseline = energy.get("mean_baseline_mae_per_atom")
    if baseline and baseline > ROUNDING:
        why = f"{1e3 * energy['mae_per_atom']:.1f} meV/atom against {1e3 * baseline:.1f} of the composition alone"
        ratio = energy["mae_per_atom"] / baseline
        found.append(at_most("energy_error", ratio, config.max_energy_error_ratio, "of composition baseline", why))
    if lacking := report.get("stress_lacking"):
        why = f"no stress is given for {lacking} structures that have one by the reference"
        found.append(not_run("stress_error", "of zero baseline", why))
    elif stress.get("zero_baseline_mae"):
        why = f"{stress['mae']:.2e} eV/Å^3 against {stress['zero_baseline_mae']:.2e} of predicting zero"
        ratio = stress["mae"] / stress["zero_baseline_mae"]
        found.append(at_most("stress_error", ratio, config.max_stress_error_ratio, "of zero baseline", why))
    return found + _errors_without_figure(report, {finding.check for finding in found})


def _errors_without_figure(report: Mapping[str, Any], had: set[str]) -> list[Finding]:
    """Return findings of the gates on errors that have no figure."""
    if "kinds" not in report:  # written by an earlier version
        return []
    reasons = {
        "softening": ("distance of the slope from 1", "every force of the teacher is zero, up to rounding"),
        "force_direction": ("1 - cosine", "no force of the teacher is large enough to have a direction"),
        "energy_error": ("of composition baseline", "the composition alone determines every energy, as of few structures"),
        "stress_error": ("of zero baseline", "every stress of the teacher is zero"),
    }
    found = [not_run(name, *reason) for name, reason in reasons.items() if name not in had]
    if report.get("stress"):
        return found
    why = "no held-out structure has a stress by the teacher and by the student"
    return [does_not_apply(f.check, f.unit, why) if f.check == "stress_error" else f for f in found]


def _element_gate(report: Mapping[str, Any], config: EvaluateConfig) -> list[Finding]:
    """Judge the element with the worst forces, among those with enough atoms."""
    ratios = {
        symbol: figures["forces"]["mae"] / figures["forces"]["zero_baseline_mae"]
        for symbol, figures in report.get("per_element", {}).items()
        if figures["forces"]["zero_baseline_mae"] > ZERO_FORCE and figures["atoms"] >= config.min_atoms_of_judged_element
    }
    if not ratios:
        least = config.min_atoms_of_judged_element
        why = f"no element has {least} held-out atoms with forces, see min_atoms_of_judged_element"
        return [does_not_apply("force_error_element", "of zero baseline", why)] if "kinds" in report else []
    worst = max(ratios, key=lambda symbol: ratios[symbol])
    why = f"worst of {len(ratios)} elements with enough atoms: {worst}"
    return [at_most("force_error_element", ratios[worst], config.max_force_error_ratio_per_element, "of zero baseline", why)]


def _physics_gate(rows: list[Mapping[str, Any]], config: EvaluateConfig) -> Finding:
    """Return one finding for all systems of a check: the worst."""
    check = rows[0]["check"]
    gate = GATES[check]
    limit = config.limits.get(check, gate.limit)
    apply = [row for row in rows if row.get("applies", True)]
    if not apply:
        return does_not_apply(check, gate.unit, "; ".join(f"{row['system']}: {row['why']}" for row in rows))
    for row in apply:
        if not row["ran"]:
            return not_run(check, gate.unit, f"{row['system']}: {row['why']}")
    worst = max(apply, key=lambda row: float("inf") if row["measured"] is None else row["measured"])
    measured = float("inf") if worst["measured"] is None else worst["measured"]
    why = "; ".join(x for x in (gate.says, worst["system"], worst["why"]) if x)
    return at_most(check, measured, limit, gate.unit, why)


def _by_check(rows: list[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["check"], []).append(row)
    return found


def _force_gate(check: str, forces: Mapping[str, Any], limit: float, where: str) -> Finding:
    why = f"{where}: {forces['mae']:.3f} eV/Å against {forces['zero_baseline_mae']:.3f} eV/Å of predicting zero"
    if forces["ratio_to_zero_baseline"] is None:
        return not_run(check, "of zero baseline", f"{where}: every force of the teacher is zero, up to rounding")
    return at_most(check, forces["ratio_to_zero_baseline"], limit, "of zero baseline", why)
