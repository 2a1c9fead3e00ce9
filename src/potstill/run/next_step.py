"""The next command after a verdict, or what to mend before it.

Takes a run folder and its reports, and returns one line of text for a user.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from potstill.active_learning.advice import unmet, what_would_help
from potstill.core.files import quoted
from potstill.core.section import read_yaml
from potstill.core.verdict import Verdict, is_failure
from potstill.report.page import readable
from potstill.run.facts import exports, round_reports, training_curve
from potstill.run.folder import RunFolder

UNLEARNED = 1.0  # of an error over that of predicting zero, or the composition alone
LEARNED = 0.5
INSTALL = "install it with:"  # as MissingExtraError says it
WEIGHED = {"energy_weight": "energy_error", "forces_weight": "force_error", "stress_weight": "stress_error"}


def shown_path(path: Path) -> str:
    """Return a path as a user would type it: relative to the current folder where it lies below, else absolute."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def next_use(run: RunFolder) -> str:
    """Return the command that runs an export, or that makes one."""
    from potstill.deploy.commands import COMMANDS

    there = exports(run)
    for name, command in COMMANDS.items():
        if name in there:
            return f"cd {quoted(shown_path(run.deploy / name))} && {command}"
    return f"potstill deploy {quoted(shown_path(run.path))}"


def resume_command(run: RunFolder) -> str:
    """Return the command that goes on with a run."""
    return f"potstill run {quoted(shown_path(run.config))} --out {quoted(shown_path(run.path))} --resume"


def mend_data(run: RunFolder, audit: Mapping[str, Any]) -> str:
    """Return what mends the data: the config that the audit advises, where it mends all, else what no config mends."""
    advice = run.path / "advice.yaml"
    other = quoted(f"{shown_path(run.path)}-2")
    if by_hand := [row for row in audit.get("advice", ()) if not row["change"]]:
        config = quoted(shown_path(advice if advice.is_file() else run.config))
        return f"{readable(by_hand[0]['check'])}: {by_hand[0]['why']}; then potstill run {config} --out {other}"
    if advice.is_file():
        return f"potstill run {quoted(shown_path(advice))} --out {other}"
    return f"mend a copy of {shown_path(run.config)}, then potstill run COPY.yaml --out {other}"


def after_no_go(run: RunFolder, evaluation: dict[str, Any]) -> str:
    """Return what to do where the student misses gates: what the figures point to, else learn from more structures.

    Rounds of active learning are proposed where there were none; where there were, their advice is repeated.
    """
    other = quoted(f"{shown_path(run.path)}-2")
    config = shown_path(run.config)
    if install := _installs(evaluation["findings"]):
        return f"{install}, then potstill evaluate {quoted(shown_path(run.path))}"
    if told := _pointed_to(evaluation["findings"], training_curve(run.metrics), _not_weighed(run)):
        return f"{told}; then potstill run COPY.yaml --out {other}, with a copy of {config}"
    learned = _learns_actively(run)
    more = "more structures" if learned or evaluation.get("labels_given") else "more structures or active_learning"
    reports = round_reports(run) if learned else []
    advice = f"; advice of the rounds: {what_would_help(reports)}" if unmet(reports) else ""
    return f"potstill run COPY.yaml --out {other}, with {more} in a copy of {config}{advice}"


def _learns_actively(run: RunFolder) -> bool:
    """Return whether the config of a run has rounds of active learning."""
    config = read_yaml(run.config) if run.config.exists() else {}
    return (config or {}).get("active_learning") is not None


def _installs(findings: Sequence[Mapping[str, Any]]) -> str:
    """Return the command that installs a missing package where all gates that are not met lack one; empty otherwise."""
    missed = [str(f.get("why", "")) for f in findings if is_failure(f["verdict"])]
    if not missed or not all(INSTALL in why for why in missed):
        return ""
    return missed[0].split(INSTALL)[1].splitlines()[0].strip()


def _not_weighed(run: RunFolder) -> list[str]:
    """Return the options by which labels had no weight in the training."""
    weights = run.stage("train").get("made_from", {}).get("train", {})
    return [option for option in WEIGHED if weights.get(option) == 0]


def _pointed_to(
    findings: list[dict[str, Any]], curve: dict[str, tuple[list[float], list[float]]], not_weighed: Sequence[str] = ()
) -> str:
    """Return what the errors of a student point to where more structures would not help; empty where they may.

    A ratio of 1 or more is no better than a zero, or than the composition alone. Options that gave labels no weight in
    the training are ``not_weighed``.
    """
    failed = {f["check"] for f in findings if is_failure(f["verdict"])}
    if unlearned := [option for option in not_weighed if WEIGHED[option] in failed]:
        return f"train.{unlearned[0]} is 0, so nothing was learned from these labels: raise it"
    of = {f["check"]: f for f in findings}
    silent = "force_error" in of and of["force_error"]["verdict"] == Verdict.NOT_RUN
    forces, energy, stress = (of.get(name, {}).get("measured") for name in ("force_error", "energy_error", "stress_error"))
    low = [x is not None and x < LEARNED for x in (forces, energy, stress)]
    high = [
        x is not None and x >= UNLEARNED and is_failure(of[name]["verdict"])
        for name, x in (("force_error", forces), ("energy_error", energy), ("stress_error", stress))
    ]
    last = [errors[-1] for name in ("training", "validation") if (errors := curve.get(name, ([], []))[1])]
    missed = forces is not None and is_failure(of["force_error"]["verdict"])
    look = "look for a wrong sign, unit or order of"
    leaked = is_failure(of.get("start_leakage", {}).get("verdict", Verdict.GO))
    energies = "forces were learned and energies were not: raise train.epochs, or look for energies of another unit or"
    no_stress = "systems" in failed and "no stress" in of["systems"].get("why", "")
    cases = {
        "the teacher predicts no stress, which the physics of crystals need: set evaluate.physics_crystals to 0": no_stress,
        "the start was trained on structures that judge the student: take another start, or one with the same split": leaked,
        "every held-out force is zero: add structures off their minima (perturb, md), or labels with forces": silent,
        "neither forces nor energies were learned: look at the labels, and at the curves of training": high[0] and high[1],
        f"energies were learned and forces were not: {look} atoms in the forces": low[1] and high[0],
        "forces were learned, energies and stresses were not: look for another unit or sign of either": low[0]
        and high[1]
        and high[2],
        f"{energies} of two codes": low[0] and high[1],
        f"forces were learned and stresses were not: {look} components in the stresses": low[0] and high[2],
        "the error on training data is as large as on others: raise train.epochs or student.tier, or look for labels that "
        "contradict each other": missed and len(last) == 2 and last[0] >= last[1],
    }
    return next((text for text, holds in cases.items() if holds), "")
