"""Every fault of the registry, injected into clean data: the check that is meant for it must not say GO."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from potstill.audit.checks import CHECKS
from potstill.audit.options import AuditConfig
from potstill.audit.stage import audit
from potstill.core.types import Labels, Structure
from potstill.dataset import Dataset, merge, split_by_family, write_part
from potstill.generate.perturb import Perturb
from potstill.teacher import load_teacher
from potstill.testing.faults import FAULTS, Case, config_asking_for

GATES = AuditConfig(min_element_entropy_bits=1.5, min_element_coverage=6, min_size_cv=0.3, replay_fraction=0.05)
COUNT = 320
NOTHING_TO_LOOK_AT = {"charge_balance", "composition", "fragments", "lone_atoms"}  # no SMILES, no ions
NOTHING_TO_LOOK_AT |= {"label_scale", "labels_follow_general"}  # a teacher


@pytest.fixture(scope="module")
def case(parents) -> Case:
    """Clean data with 26 or so siblings of each parent."""
    lj = load_teacher("emt")
    made = Perturb(count=COUNT, rattle_angstrom=(0.03, 0.06)).propose(range(COUNT), 7, parents)
    structures = [
        s.with_(id=f"{s.source}-{k:06d}", positions=s.positions.astype(np.float32))
        for k, s in enumerate(made)
        if isinstance(s, Structure)
    ]
    answers = lj.label(structures)
    labelled = tuple(s.with_(labels=a) for s, a in zip(structures, answers, strict=True) if isinstance(a, Labels))
    families = [s.family for s in labelled]
    elements = [frozenset(s.atomic_numbers.tolist()) for s in labelled]
    splits = split_by_family(families, elements, valid_fraction=0.1, test_fraction=0.2, seed=1)
    attributes = {"teacher": dict(lj.fingerprint), "label_seconds": 1.0, "workers": 1, "config": config_asking_for(labelled)}
    return Case(labelled, splits, lj, attributes)


def findings(case: Case, folder, checks=CHECKS, seed=3) -> dict:
    part, path = folder / "part.h5", folder / "dataset.h5"
    write_part(part, case.structures, case.refused, labelled=True)
    merge([part], path, attributes=dict(case.attributes), splits=case.splits)
    if case.on_file:
        case.on_file(path)
    report, _ = audit(Dataset(path, compare_blocks=False), GATES, teacher=lambda: case.teacher, seed=seed, checks=checks)
    return {f["check"]: f for f in report["findings"]}


def test_clean_data_is_go(case, tmp_path):
    found = findings(case, tmp_path)
    assert {name for name, f in found.items() if f["verdict"] == "DOES_NOT_APPLY"} == NOTHING_TO_LOOK_AT
    assert [f for name, f in found.items() if f["verdict"] != "GO" and name not in NOTHING_TO_LOOK_AT] == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_caught(fault, case, tmp_path):
    damaged = fault.inject(case, np.random.default_rng(11))
    chosen = [check for check in CHECKS if check.__name__ == fault.check]
    found = findings(damaged, tmp_path, chosen)[fault.check]
    assert found["verdict"] in {"NO_GO", "WARN", "NOT_RUN"}, found
    assert "the check failed" not in found["why"], found


def test_the_registry():
    assert len(FAULTS) >= 40
    assert max(Counter(fault.name for fault in FAULTS).values()) == 1
    beside_general = {
        "label_scale",
        "energies_apart",
        "labels_follow_general",
    }  # which test_beside_general.py and others have
    assert {fault.check for fault in FAULTS} == {check.__name__ for check in CHECKS} - beside_general
    for fault in FAULTS:
        assert fault.smallest
