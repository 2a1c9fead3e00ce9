"""Every gate of the evaluation: what is measured, in which unit, and how far it may go.

Enters the stored report, leaves findings; the same figures can be judged again by other limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from potstill.core.verdict import Finding, at_most, not_run

if TYPE_CHECKING:
    from potstill.evaluate.options import EvaluateConfig


@dataclass(frozen=True, slots=True)
class Gate:
    """The largest accepted figure of one check of the physics.

    Parameters
    ----------
    limit
        Unless the config says otherwise.
    unit
        Of figure and limit.
    says
        What is measured.
    """

    limit: float
    unit: str
    says: str


_OF_LARGEST = "of the largest force, or of 1 eV/Å"
GATES: dict[str, Gate] = {
    "systems": Gate(0, "systems", "systems wanted for the checks of physics that none of those tried could be relaxed to"),
    "force_slope": Gate(0.03, _OF_LARGEST, "forces against central differences of the energy"),
    "stress_slope": Gate(0.03, "of the largest, or of 1 eV", "stress times volume against differences under strain"),
    "closed_loop": Gate(2e-3, "of the work on the way", "work along a closed loop through all coordinates"),
    "invariance": Gate(1e-3, _OF_LARGEST, "change of the forces by rotation, translation and order of the atoms"),
    "extensivity": Gate(0.1, "meV/atom", "energy per atom of one cell against two, of one molecule against two far apart"),
    "locality": Gate(0.02, "of the change of forces", "what is felt beyond 12 Å of a moved atom"),
    "smoothness": Gate(0.01, "eV/Å", "largest kink of the force between two atoms, from contact to beyond the cutoff"),
    "fused_pairs": Gate(
        0, "pairs", "pairs pushed together to 0.5-0.7 of their covalent radii that only the reference drives apart"
    ),
    "endurance": Gate(0, "structures", "odd structures without a finite answer: strained by 50 %, in vacuum, one atom"),
    "equilibrium_volume": Gate(3, "%", "volume at the minimum of the equation of state"),
    "bulk_modulus": Gate(15, "%", "bulk modulus of the equation of state"),
    "elastic_constants": Gate(20, "%", "distance of the tensors of elastic constants, clamped ions"),
    "vacancies": Gate(0.3, "eV", "energy to take out one atom, not relaxed; the worst element"),
    "surfaces": Gate(20, "%", "energy of cleaving along (100), (110), (111), not relaxed; the worst plane"),
    "phonons": Gate(10, "%", "mean gap of the frequencies on a mesh over their mean"),
    "vibrations": Gate(10, "%", "mean gap of a molecule's frequencies over their mean"),
    "torsions": Gate(43, "meV", "energies along rigid turns about bonds, root mean square"),
    "dimers": Gate(0, "pairs", "pairs of atoms whose force changes sign more than once more than the reference's"),
    "relaxed_cell": Gate(5, "%", "largest gap of volume and cell lengths after relaxation by each"),
    "relaxed_positions": Gate(0.1, "Å", "distance of atoms after relaxation by each, root mean square"),
    "rdf": Gate(0.05, "Å", "Wasserstein distance of pair distances in dynamics, less that of two runs"),
    "adf": Gate(3, "degrees", "the same of angles between neighbours"),
    "vdos": Gate(1, "THz", "the same of the vibrational density of states"),
    "pressure": Gate(1, "GPa", "the same of the pressure"),
    "nvt": Gate(25, "%", "hot run: mean temperature off the thermostat's, beyond chance; not finite where two atoms fused"),
    "npt": Gate(10, "%", "change of the volume at no pressure"),
}


def judge(report: Mapping[str, Any], config: EvaluateConfig) -> list[Finding]:
    """Gates on the figures of ``evaluate.json``; can be asked again with other limits."""
    findings = [
        _force_gate("force_error", report["forces"], config.max_force_error_ratio, "all held-out families"),
        *_error_gates(report, config),
    ]
    for name, figures in report["per_source"].items():
        limit = config.max_force_error_ratio_per_source
        findings.append(_force_gate(f"force_error_{name}", figures["forces"], limit, f"held-out families of {name}"))
    findings += _element_gate(report, config)
    for row in report["nve"]:
        drift = row["drift_mev_per_atom"] if row["finite"] else float("inf")
        why = f"{row['kind']} {row['system']}, {row['atoms']} atoms, {row['steps']} steps of {row['timestep_fs']} fs"
        findings.append(at_most(f"nve_{row['kind']}", drift, config.max_nve_drift_mev_per_atom, "meV/atom", why))
    if not report["nve"]:
        findings.append(not_run("nve", "meV/atom", "no constant-energy run was asked for, or no structure to run"))
    if "physics" in report and not report["physics"] and (config.physics_crystals or config.physics_molecules):
        findings.append(not_run("physics", "", "the teacher was not at hand, or no held-out structure is small enough"))
    return findings + [_physics_gate(rows, config) for rows in _by_check(report.get("physics", []))]


def _error_gates(report: Mapping[str, Any], config: EvaluateConfig) -> list[Finding]:
    """Softening, direction of forces, energy and stress; of reports that have them."""
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
    if baseline:
        why = f"{1e3 * energy['mae_per_atom']:.1f} meV/atom against {1e3 * baseline:.1f} of the composition alone"
        ratio = energy["mae_per_atom"] / baseline
        found.append(at_most("energy_error", ratio, config.max_energy_error_ratio, "of composition baseline", why))
    if stress.get("zero_baseline_mae"):
        why = f"{stress['mae']:.2e} eV/Å^3 against {stress['zero_baseline_mae']:.2e} of predicting zero"
        ratio = stress["mae"] / stress["zero_baseline_mae"]
        found.append(at_most("stress_error", ratio, config.max_stress_error_ratio, "of zero baseline", why))
    return found


def _element_gate(report: Mapping[str, Any], config: EvaluateConfig) -> list[Finding]:
    """The element whose forces are worst, of those with enough atoms to say so."""
    ratios = {
        symbol: figures["forces"]["mae"] / figures["forces"]["zero_baseline_mae"]
        for symbol, figures in report.get("per_element", {}).items()
        if figures["forces"]["zero_baseline_mae"] > 0 and figures["atoms"] >= config.min_atoms_of_judged_element
    }
    if not ratios:
        return []
    worst = max(ratios, key=lambda symbol: ratios[symbol])
    why = f"worst of {len(ratios)} elements with enough atoms: {worst}"
    return [at_most("force_error_element", ratios[worst], config.max_force_error_ratio_per_element, "of zero baseline", why)]


def _physics_gate(rows: list[Mapping[str, Any]], config: EvaluateConfig) -> Finding:
    """One finding for all systems of a check: the worst."""
    check = rows[0]["check"]
    gate = GATES[check]
    limit = config.limits.get(check, gate.limit)
    for row in rows:
        if not row["ran"]:
            return not_run(check, gate.unit, f"{row['system']}: {row['why']}")
    worst = max(rows, key=lambda row: float("inf") if row["measured"] is None else row["measured"])
    measured = float("inf") if worst["measured"] is None else worst["measured"]
    why = "; ".join(x for x in (gate.says, worst["system"], worst["why"]) if x)
    return at_most(check, measured, limit, gate.unit, why)


def _by_check(rows: list[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["check"], []).append(row)
    return [found[name] for name in GATES if name in found]


def _force_gate(check: str, forces: Mapping[str, Any], limit: float, where: str) -> Finding:
    why = f"{where}: {forces['mae']:.3f} eV/Å against {forces['zero_baseline_mae']:.3f} eV/Å of predicting zero"
    if forces["ratio_to_zero_baseline"] is None:
        return not_run(check, "of zero baseline", f"{where}: every force of the teacher is zero")
    return at_most(check, forces["ratio_to_zero_baseline"], limit, "of zero baseline", why)
