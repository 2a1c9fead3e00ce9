"""Figures within sentences that are defaults and limits of the code, or tolerances of its tests."""

from __future__ import annotations

import re

from result_tables.base import ROOT, figure_of, per_cent


@figure_of
def stress_limit() -> str:
    """Largest stress that the audit accepts, in two units."""
    from potstill.audit.options import AuditConfig
    from potstill.core.units import GPA_PER_EV_PER_CUBIC_ANGSTROM

    limit = AuditConfig().max_stress_ev_per_cubic_angstrom
    return f"{limit:g} eV/Å^3, or {limit * GPA_PER_EV_PER_CUBIC_ANGSTROM:.0f} GPa"


@figure_of
def replay_share() -> str:
    """Share of the labels that the audit computes again by default."""
    from potstill.audit.options import AuditConfig

    return per_cent(AuditConfig().replay_fraction)


@figure_of
def replay_odds() -> str:
    """Probability that the default replay of 10,000 structures finds a fault in 0.03 of them."""
    from potstill.audit.options import AuditConfig

    return per_cent(1 - (1 - 0.03) ** (10_000 * AuditConfig().replay_fraction))


@figure_of
def domain_closer() -> str:
    """Distance over the closest one in the data below which a student warns."""
    from potstill.student.domain import CLOSER

    return f"{CLOSER:g}"


@figure_of
def domain_crowded() -> str:
    """Number of neighbors over the largest one in the data above which a student warns."""
    from potstill.student.domain import CROWDED

    return f"{CROWDED:g}"


@figure_of
def domain_sparse() -> str:
    """Number of neighbors over the smallest one in the data below which a student warns."""
    from potstill.student.domain import SPARSE

    return f"{SPARSE:g}"


@figure_of
def committee_structures() -> str:
    """Structures that each student of the committee sees in its training."""
    from potstill.active_learning.committee import LOOKED_AT

    return f"{LOOKED_AT:,}"


@figure_of
def contingency_mix() -> str:
    """Shares of the contingency mix by kind of source."""
    from potstill.generate.mix import Contingency

    mix = Contingency()
    shares = [per_cent(share) for share in (mix.traditional, mix.benchmark, mix.generative)]
    return f"{shares[0]} traditional sources, {shares[1]} benchmark and {shares[2]} generative sources"


@figure_of
def judged_after() -> str:
    """Candidates after which a generative source is judged."""
    from potstill.generate.mix import JUDGED_AFTER

    return f"{JUDGED_AFTER}"


@figure_of
def monitor_seconds() -> str:
    """Seconds between two looks of the monitor."""
    from potstill.run.metrics import EVERY_SECONDS

    return f"{EVERY_SECONDS:g}"


@figure_of
def recent_minutes() -> str:
    """Minutes over which a recent rate is taken."""
    from potstill.run.figures import RECENT_SECONDS

    return f"{RECENT_SECONDS / 60:g}"


@figure_of
def question_minutes() -> str:
    """Minutes of an estimate beyond which a run asks first."""
    from potstill.run.plan import LONG_RUN_SECONDS

    return f"{LONG_RUN_SECONDS / 60:g}"


@figure_of
def kills_of_the_writer() -> str:
    """Kills in the slow test of the dataset's writer."""
    text = (ROOT / "tests" / "dataset" / "test_kill.py").read_text(encoding="utf-8")
    return re.findall(r'parametrize\("kills", \[\d+, pytest\.param\((\d+), marks=pytest\.mark\.slow\)', text)[0]


@figure_of
def engines_agree() -> str:
    """Tolerances of energies and forces of an engine beside ASE's loop, as its test has them."""
    text = (ROOT / "tests" / "deploy" / "test_engines.py").read_text(encoding="utf-8")
    energy, force = re.findall(r"^ENERGY_EV_PER_ATOM, FORCE_EV_PER_ANGSTROM = (\S+), (\S+)$", text, re.MULTILINE)[0]
    return f"energies agree within {energy} eV/atom and forces within {force} eV/Å"


@figure_of
def volumes_agree() -> str:
    """Tolerance of the mean volume of an engine under pressure beside ASE's, as its test has it."""
    text = (ROOT / "tests" / "deploy" / "test_engines.py").read_text(encoding="utf-8")
    return per_cent(float(re.findall(r"^VOLUME_NOISE = (\S+)", text, re.MULTILINE)[0]))


@figure_of
def dimer_distances() -> str:
    """Distances of the source dimers over the sum of covalent radii."""
    from potstill.generate.dimers import Dimers

    low, high = Dimers.model_fields["scaled_distance"].default
    return f"{low:g} to {high:g}"


@figure_of
def exploded() -> str:
    """Temperature over that of the thermostat at which a trajectory ends."""
    from potstill.generate.md import EXPLODED

    return f"{EXPLODED:g}"


@figure_of
def padded_derivatives() -> str:
    """Tolerance of all derivatives of padded batches by the weights, as its test has it."""
    text = (ROOT / "tests" / "student" / "test_padded.py").read_text(encoding="utf-8")
    return per_cent(float(re.findall(r"^WEIGHTS_AGREE = (\S+)", text, re.MULTILINE)[0]))


@figure_of
def gpu_data_share() -> str:
    """Share of a GPU's free memory that the data of a training may take."""
    from potstill.train.graphs import MEMORY

    return per_cent(MEMORY)
