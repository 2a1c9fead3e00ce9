"""Checks of a config before a run: gates that no data of this config can pass, and batches without structures."""

from __future__ import annotations

import math

from potstill.config import Config
from potstill.core.counts import several


def contradictions(config: Config) -> list[str]:
    """Return one line for each gate that the config makes impossible; empty where there is none."""
    found = []
    elements, gates = len(set(config.generate.elements)), config.audit
    if elements and elements < gates.min_element_coverage:
        found.append(
            f"audit.min_element_coverage is {gates.min_element_coverage}, but generate.elements has {elements}: "
            f"set it to {elements} or less, or add elements"
        )
    most = math.log2(elements) if elements else math.inf
    if most < gates.min_element_entropy_bits:
        found.append(
            f"audit.min_element_entropy_bits is {gates.min_element_entropy_bits:g}, but "
            f"{several(elements, 'element')} can have {most:.2f} at most: set it lower, or add elements"
        )
    if not config.dataset.test_fraction:
        found.append("dataset.test_fraction is 0, so no structure is held out for the evaluation: set it to 0.1")
    if config.label.max_force_ev_per_angstrom > gates.max_force_ev_per_angstrom:
        found.append(
            f"label.max_force_ev_per_angstrom is {config.label.max_force_ev_per_angstrom:g} but "
            f"audit.max_force_ev_per_angstrom, {gates.max_force_ev_per_angstrom:g}, is the limit of the audit: set it to "
            f"{gates.max_force_ev_per_angstrom:g} or less"
        )
    return found + short_of_frames(config)


def short_of_frames(config: Config) -> list[str]:
    """Return one line for each source of a run in batches whose files hold fewer frames than its count.

    The first batches would take them all, and the last ones have none.
    """
    found = []
    for place, source in enumerate(config.generate.sources if config.batches else ()):
        frames = source.available() if source.kind == "own" else None
        if frames is not None and frames < source.count:
            found.append(
                f"generate.sources.{place}.count is {source.count}, but the files hold {several(frames, 'frame')}: "
                f"set it to {frames}, so that each batch has its share"
            )
    return found
