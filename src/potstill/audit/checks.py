"""The checks: each a small function from the dataset and its statistics to one finding.

A check compares a measured figure with a limit of section ``audit``; it never repairs and never guesses. What cannot be
measured is NOT_RUN, which is not a pass. They stand in families: :mod:`~potstill.audit.process`, ``diversity``,
``duplicates``, ``geometry``, ``chemistry``, ``labels``, ``replay``, ``splits`` and ``integrity``.
"""

from __future__ import annotations

from potstill.audit.chemistry import (
    charge_balance,
    composition,
    element_support,
    elements_per_source,
    fragments,
    hydrogens,
    valences,
)
from potstill.audit.diversity import element_coverage, element_entropy, size_cv, source_novelty, structural_entropy
from potstill.audit.duplicates import duplicates, near_duplicates
from potstill.audit.evidence import Check, Evidence
from potstill.audit.geometry import cell_shape, distances, packing, vacuum, volume
from potstill.audit.integrity import integrity, schema
from potstill.audit.labels import (
    energy_outliers,
    energy_work,
    energy_work_slope,
    finite,
    force_limits,
    missing_stress,
    net_force,
    net_torque,
    precision,
    repeated_labels,
    stress_limits,
    stress_symmetry,
)
from potstill.audit.process import refusals, shares, stand_ins, teacher_success, throughput, wilson_interval
from potstill.audit.replay import conservative_forces, gradients, label_replay, teacher_fingerprint
from potstill.audit.splits import near_leakage, split_leakage
from potstill.core.verdict import at_least, at_most, not_run

__all__ = ["CHECKS", "FAMILIES", "Check", "Evidence", "at_least", "at_most", "not_run", "wilson_interval"]

FAMILIES: dict[str, tuple[Check, ...]] = {
    "process": (teacher_success, throughput, refusals, shares, stand_ins),
    "diversity": (element_entropy, element_coverage, size_cv, structural_entropy, source_novelty),
    "duplicates": (duplicates, near_duplicates),
    "geometry": (distances, volume, packing, vacuum, cell_shape),
    "chemistry": (hydrogens, valences, fragments, composition, charge_balance, element_support, elements_per_source),
    "labels": (
        *(finite, force_limits, stress_limits, stress_symmetry, missing_stress, energy_outliers, net_force, net_torque),
        *(precision, repeated_labels, energy_work, energy_work_slope, label_replay, gradients, conservative_forces),
        teacher_fingerprint,
    ),
    "splits": (split_leakage, near_leakage),
    "integrity": (integrity, schema),
}
CHECKS: tuple[Check, ...] = tuple(check for family in FAMILIES.values() for check in family)
