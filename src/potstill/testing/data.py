"""Kits for data: a source that proposes structures, an audit check that judges them."""

from __future__ import annotations

import json
import random
import re
import tempfile
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from pydantic import BaseModel

from potstill.audit.checks import Check, Evidence
from potstill.audit.options import AuditConfig
from potstill.audit.stage import run_check
from potstill.core.elements import symbols_of
from potstill.core.geometry import smallest_scaled_distance
from potstill.core.types import Labels, Refused, Source, Structure
from potstill.core.verdict import Finding, Verdict
from potstill.dataset import Dataset, merge, write_part
from potstill.stats import collect
from potstill.teacher.classical import LennardJones
from potstill.testing.faults import config_asking_for
from potstill.testing.physics import require
from potstill.testing.structures import all_structures, rattled

FUSED = 0.3  # over the sum of covalent radii: closer atoms are a fault of the source

Missing = Literal["labels", "split", "teacher", "fingerprint", "time", "config"]


def check_source(source: Source, *, seed: int = 0, count: int = 8, parents: Sequence[Structure] | None = None) -> None:
    """Check a source for everything that the pipeline relies on.

    It must be a pure function of options, index, seed and parents: equal answers when called again, alone, backwards or in
    other groups, and after its options went through JSON. It must give one answer per index, and refusals with a reason.
    Structures must have a sound geometry, and allowed elements and size. Parents and global random numbers must not change.

    Parameters
    ----------
    source
        Source with its options.
    seed
        Seed of the source's random numbers.
    count
        Number of indices; at least one of them must give a structure.
    parents
        Structures that a derived source copies from; those of this package where None.

    Raises
    ------
    AssertionError
        If a check fails; the message states what was found and expected.
    """
    given = tuple(all_structures() if parents is None else parents)
    before = [_content(parent) for parent in given]
    random_before = _global_random_state()
    indices = list(range(count))
    require(
        bool(re.fullmatch(r"[\w.-]+", source.name)), f"name: found {source.name!r}, expected letters, digits, '.', '-', '_'"
    )
    proposals = source.propose(indices, seed, given)
    require(len(proposals) == count, f"length: {len(proposals)} answers to {count} indices, expected as many")
    for index, proposal in zip(indices, proposals, strict=True):
        _check_proposal(source, index, proposal)
    require(
        any(isinstance(p, Structure) for p in proposals),
        f"all of {count} candidates were refused: nothing is tested; {proposals[0]}",
    )
    _compare_proposals("asked again", source.propose(indices, seed, given), proposals)
    alone = [source.propose([index], seed, given)[0] for index in reversed(indices)][::-1]
    _compare_proposals("asked one by one and backwards", alone, proposals)
    odd, even = source.propose(indices[1::2], seed, given), source.propose(indices[::2], seed, given)
    mixed = [(even, odd)[index % 2][index // 2] for index in indices]
    _compare_proposals("asked in other groups", mixed, proposals)
    if isinstance(source, BaseModel):
        again: Source = type(source).model_validate_json(source.model_dump_json())
        _compare_proposals("made again from its options", again.propose(indices, seed, given), proposals)
    require([_content(parent) for parent in given] == before, "a parent was changed, expected all untouched")
    require(_global_random_state() == random_before, "global random numbers were drawn or seeded, expected none")


def check_check(check: Check, *, needs: Collection[Missing] = ()) -> None:
    """Check that an audit check keeps its contract.

    On a complete dataset it returns a Finding with its own name, a measured figure, limit, unit and reason, the same in two
    calls. Without a need it never passes: NOT_RUN, NO_GO, or an exception, which the audit turns into NOT_RUN.

    Parameters
    ----------
    check
        Function from :class:`~potstill.audit.checks.Evidence` to a finding.
    needs
        Evidence without which it must not pass: ``"labels"``, ``"split"``, ``"teacher"``, ``"fingerprint"`` (of the
        teacher in the file), ``"time"`` (that labelling took), ``"config"`` (of the run, in the file).

    Raises
    ------
    AssertionError
        If a check fails; the message states what was found and expected.
    """
    unknown = set(needs) - set(get_args(Missing))
    require(not unknown, f"needs: {', '.join(sorted(unknown))} is none of {', '.join(get_args(Missing))}")
    with tempfile.TemporaryDirectory() as folder:
        finding = check(_evidence(Path(folder), None))
        _check_finding(check, finding)
        again = check(_evidence(Path(folder), None))
        require(_without_nan(again) == _without_nan(finding), f"{finding.check}: another finding on the same data")
        for missing in needs:
            found = run_check(check, _evidence(Path(folder), missing))
            passed = found.verdict in (Verdict.GO, Verdict.WARN)
            require(
                not passed, f"{finding.check}: {found.verdict} without {missing}, expected NOT_RUN or NO_GO; {found.why}"
            )


def _check_proposal(source: Source, index: int, proposal: object) -> None:
    where = f"{source.name}, index {index}"
    if isinstance(proposal, Refused):
        require(bool(proposal.reason.strip()), f"{where}: refused without a reason")
        return
    require(isinstance(proposal, Structure), f"{where}: expected a Structure or Refused, found {type(proposal).__name__}")
    assert isinstance(proposal, Structure)  # noqa: S101 - for the type checker
    require(bool(np.isfinite(proposal.positions).all() and np.isfinite(proposal.cell).all()), f"{where}: not finite")
    require(proposal.labels is None, f"{where}: a new structure has labels, expected None")
    scaled, pair = smallest_scaled_distance(proposal)
    require(scaled >= FUSED, f"{where}: atoms {pair} at {scaled:.2f} of the sum of their radii, limit {FUSED}")
    allowed = getattr(source, "elements", ())
    foreign = set(symbols_of(proposal.atomic_numbers)) - set(allowed)
    require(not (allowed and foreign), f"{where}: elements {sorted(foreign)} are not among {sorted(allowed)}")
    largest = getattr(source, "max_atoms", len(proposal))
    require(len(proposal) <= largest, f"{where}: {len(proposal)} atoms, limit {largest}")
    try:
        json.dumps(dict(proposal.generator_metadata), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"{where}: generator_metadata cannot be written as JSON: {error}") from error


def _compare_proposals(how: str, found: Sequence[Structure | Refused], expected: Sequence[Structure | Refused]) -> None:
    require(len(found) == len(expected), f"{how}: {len(found)} answers, expected {len(expected)}")
    for index, (a, b) in enumerate(zip(found, expected, strict=True)):
        equal = a == b if isinstance(a, Refused) or isinstance(b, Refused) else _content(a) == _content(b)
        require(equal, f"{how}, index {index} gives another answer: found {_short(a)}, expected {_short(b)}")


def _content(structure: Structure) -> tuple[object, ...]:
    arrays = (structure.atomic_numbers, structure.positions, structure.cell, structure.pbc)
    metadata = json.dumps(dict(structure.generator_metadata), sort_keys=True, default=repr)
    return (*(array.tobytes() for array in arrays), structure.family, metadata)


def _short(proposal: Structure | Refused) -> str:
    return str(proposal) if isinstance(proposal, Refused) else f"{proposal.formula} at {proposal.positions[0].tolist()}"


def _global_random_state() -> tuple[object, ...]:
    _, keys, position, *_ = np.random.get_state()  # noqa: NPY002 - the legacy state is what must not change
    return random.getstate(), np.asarray(keys).tobytes(), position


def _check_finding(check: Callable[[Evidence], Finding], finding: Finding) -> None:
    name = getattr(check, "__name__", "check")
    require(isinstance(finding, Finding), f"{name}: expected a Finding, found {type(finding).__name__}")
    require(finding.check == name, f"{name}: its finding is named {finding.check!r}, expected the name of the function")
    require(isinstance(finding.verdict, Verdict), f"{name}: {finding.verdict!r} is no verdict")
    require(finding.verdict != Verdict.NOT_RUN, f"{name}: did not run although nothing was missing; {finding.why}")
    if finding.verdict != Verdict.DOES_NOT_APPLY:
        require(finding.measured is not None, f"{name}: there is no measured figure")
        limited = finding.limit is not None and not np.isnan(finding.limit)
        require(limited, f"{name}: there is no limit, found {finding.limit}")
    require(isinstance(finding.unit, str), f"{name}: the unit must be a text, found {finding.unit!r}")
    require(bool(finding.why.strip()), f"{name}: does not say why")


def _without_nan(finding: Finding) -> tuple[object, ...]:
    return (finding.verdict, repr(finding.measured), finding.limit, finding.unit, finding.why, finding.worst)


def _evidence(folder: Path, missing: Missing | None) -> Evidence:
    """Return a small labelled dataset of molecules and crystals, complete or with one item missing."""
    teacher = LennardJones().load()
    structures = [rattled(s, seed) for s in all_structures() if len(s) > 1 for seed in range(3)]
    answers = teacher.label(structures)
    labelled = [s.with_(labels=a) for s, a in zip(structures, answers, strict=True) if isinstance(a, Labels)]
    part, path = folder / f"part-{missing}.h5", folder / f"dataset-{missing}.h5"
    write_part(part, labelled, labelled=missing != "labels")
    families = sorted({s.family for s in labelled})
    splits = np.array([min(families.index(s.family), 2) for s in labelled], np.uint8)
    attributes: dict[str, object] = {"teacher": dict(teacher.fingerprint), "label_seconds": 1.0, "workers": 1}
    attributes["config"] = config_asking_for(labelled)
    for name, key in (("fingerprint", "teacher"), ("time", "label_seconds"), ("config", "config")):
        if missing == name:
            del attributes[key]
    merge([part], path, attributes=attributes, splits=None if missing == "split" else splits)
    dataset = Dataset(path)
    return Evidence(dataset, collect(dataset), AuditConfig(), None if missing == "teacher" else lambda: teacher)
