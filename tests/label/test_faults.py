"""Every way that a teacher may fail, through the whole stage: one refusal each, all others labelled, nothing twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from potstill.core.errors import InputError, PotstillError
from potstill.core.types import Labels
from potstill.dataset import Dataset, open_dataset
from potstill.dataset.options import SplitConfig
from potstill.label.options import LabelConfig
from potstill.label.stage import LabelCount, ask, assemble, label
from potstill.teacher.classical import LennardJones

SOFT = (
    *("NaN energy", "infinite energy", "NaN force", "exploding forces", "one atom too fast", "flat forces"),
    *("an atom too many", "two energies", "no energy", "complex forces", "nothing", "a dictionary", "Voigt stress"),
    *(
        "stress of a molecule",
        "exception",
        "assertion",
        "CUDA out of memory",
        "memory",
        "input changed",
        "refused by itself",
    ),
)
EVERY_ELEMENT = tuple(range(1, 119))
HARD = ("killed", "segmentation fault", "exit", "deaf hang")


@pytest.fixture(params=["this environment", "its own environment"])
def environment(request, interpreter) -> str:
    """Where the faulty teacher runs: in the worker itself, or in a process that the worker keeps."""
    return "" if request.param == "this environment" else interpreter


def config(teacher, **changes) -> LabelConfig:
    return LabelConfig().model_copy(update={"teacher": teacher, "structures_per_task": 12, **changes})


def run(settings, structures, folder: Path, workers: int = 1) -> tuple[Dataset, list[LabelCount]]:
    counts: list[LabelCount] = []
    parts = label(settings, structures, folder, workers=workers, on_progress=counts.append)
    split = SplitConfig(valid_fraction=0.1, test_fraction=0.2)
    path = folder.with_suffix(".h5")
    assemble(parts, structures, path, split=split, seed=1, attributes={"workers": workers, "label_seconds": 1.0})
    return open_dataset(path), counts


def reasons(dataset: Dataset) -> dict[str, str]:
    return {r.id: r.reason for r in dataset.refused if r.stage == "label"}


def adds_up(dataset: Dataset, counts: list[LabelCount], structures: Path) -> None:
    """Each structure is labelled once or refused once, and the counts that were shown say so."""
    ids = [s.id for s in Dataset(structures)]
    said = [*dataset.ids, *reasons(dataset)]
    assert Counter(said) == Counter(ids)
    assert sum(c.labelled for c in counts) == len(dataset)
    assert sum(c.refused for c in counts) == len(ids) - len(dataset)
    assert dataset.verify() == []


def test_each_fault_refuses_its_structure_and_no_other(faulty, structures, labelled, tmp_path, environment):
    without_n = [s.id for s in labelled if 7 not in s.atomic_numbers]
    faults = dict(zip(without_n, SOFT, strict=False))
    assert len(faults) == len(SOFT)
    dataset, counts = run(
        config(faulty.Faulty(faults=faults, environment=environment)), structures, tmp_path / "label", workers=2
    )
    adds_up(dataset, counts, structures)
    found = reasons(dataset)
    for name, fault in faults.items():
        assert found[name] in faulty.FAULTS[fault][1].split("|"), fault
    rest = set(found) - set(faults)
    assert rest == {s.id for s in labelled if 7 in s.atomic_numbers}
    assert all(found[name] == "unsupported_element" for name in rest)
    good = {s.id: s.labels.energy for s in labelled}
    assert all(stored.labels.energy == pytest.approx(good[stored.id], abs=1e-9) for stored in dataset)
    assert {r.reason: r.detail for r in dataset.refused}["unsupported_element"] == "the teacher does not support N"


def test_structures_that_end_or_hang_the_process(faulty, structures, labelled, tmp_path, environment):
    chosen = {labelled[3].id: "killed", labelled[20].id: "deaf hang"}
    teacher = faulty.Faulty(faults=chosen, knows=EVERY_ELEMENT, atoms_per_batch=1, environment=environment)
    settings = config(teacher, timeout_seconds_per_structure=2.0, structures_per_task=6)
    dataset, counts = run(settings, structures, tmp_path / "label", workers=2)
    adds_up(dataset, counts, structures)
    assert reasons(dataset) == {labelled[3].id: "teacher_crashed", labelled[20].id: "teacher_timeout"}
    details = {r.id: r.detail for r in dataset.refused}
    assert "SIGKILL" in details[labelled[3].id]
    assert "2 s" in details[labelled[20].id]
    # what was divided stays divided when the run goes on
    parts = sorted(p.name for p in (tmp_path / "label").glob("*.h5"))
    divided = 1 if environment else 2  # a process beside the worker takes no worker with it when it ends
    assert len(parts) == 6 - divided + 6 * divided
    for name in (parts[0], parts[4], parts[-1]):
        (tmp_path / "label" / name).unlink()
    again, counts = run(settings, structures, tmp_path / "label")
    adds_up(again, counts, structures)
    assert again.attributes["checksums"] == dataset.attributes["checksums"]
    assert sorted(p.name for p in (tmp_path / "label").glob("*.h5")) == parts


@pytest.mark.slow
def test_every_end_of_a_process(faulty, structures, labelled, tmp_path, environment):
    chosen = {labelled[k].id: fault for k, fault in zip((3, 4, 15, 20), HARD, strict=True)}
    teacher = faulty.Faulty(faults=chosen, knows=EVERY_ELEMENT, atoms_per_batch=1, environment=environment)
    settings = config(teacher, timeout_seconds_per_structure=2.0)
    dataset, counts = run(settings, structures, tmp_path / "label", workers=2)
    adds_up(dataset, counts, structures)
    assert reasons(dataset) == {name: faulty.FAULTS[fault][1] for name, fault in chosen.items()}
    details = {r.id: r.detail for r in dataset.refused}
    assert "SIGSEGV" in details[labelled[4].id]
    assert "exit code 3" in details[labelled[15].id]


def test_a_process_that_is_killed_from_outside_changes_no_byte(faulty, structures, labelled, tmp_path, environment):
    quiet, _ = run(config(faulty.Faulty(faults={}, knows=EVERY_ELEMENT)), structures, tmp_path / "quiet")
    teacher = faulty.Faulty(faults={labelled[17].id: "killed once"}, knows=EVERY_ELEMENT, environment=environment)
    killed, counts = run(config(teacher), structures, tmp_path / "label", workers=2)
    assert (tmp_path / "killed").exists()
    adds_up(killed, counts, structures)
    assert len(killed) == 36
    assert killed.attributes["checksums"] == quiet.attributes["checksums"]


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ("missing", InputError, r"(?s)needs the package 'nonexistent_package'.*pip install 'potstill\[orb\]'"),
        ("truncated", InputError, r"(?s)cannot be read from .*weights\.pt \(7 bytes\).*fetch them again"),
        ("killed", PotstillError, r"(?s)died 3 times while loading the teacher \(killed by SIGKILL\).*potstill doctor"),
    ],
)
def test_a_teacher_that_cannot_be_loaded_stops_the_run(faulty, structures, tmp_path, fault, error, message):
    (tmp_path / "weights.pt").write_bytes(b"PK\x03\x04cut")
    teacher = faulty.AtLoading(fault=fault, weights=str(tmp_path / "weights.pt"))
    with pytest.raises(error, match=message) as caught:
        run(config(teacher), structures, tmp_path / "label")
    assert caught.value.exit_code == (2 if error is InputError else 1)
    assert list((tmp_path / "label").glob("*")) == []


def test_a_teacher_that_becomes_another_one(faulty, structures, tmp_path, environment):
    with pytest.raises(PotstillError, match="fingerprint changed while it labelled"):
        run(config(faulty.Restless(environment=environment)), structures, tmp_path / "label")


def test_a_teacher_whose_options_change_between_two_starts_labels_everything_again(structures, tmp_path):
    folder = tmp_path / "label"
    label(config(LennardJones(sigma_angstrom=0.9)), structures, folder, workers=1)
    (folder / "00000012-00000024.h5").unlink()
    run(config(LennardJones(sigma_angstrom=0.9, epsilon_ev=0.25)), structures, folder)
    assert len(list(folder.glob("*.aside-1"))) == 2  # the labels of the first teacher are kept
    assert all("0.25" in Dataset(part).attributes["teacher"] for part in folder.glob("*.h5"))


def test_a_teacher_that_is_another_one_under_the_same_options(structures, tmp_path):
    settings = config(LennardJones(sigma_angstrom=0.9))
    first, *_ = label(settings, structures, tmp_path / "label", workers=1)
    with h5py.File(first, "a") as file:
        file.attrs["teacher"] = file.attrs["teacher"].replace("lennard", "another lennard")
    with pytest.raises(PotstillError, match=r"(?s)different teachers.*another lennard"):
        run(settings, structures, tmp_path / "label")


def test_an_energy_in_a_list_of_one_is_a_number(labelled):
    class InAList(type(LennardJones().load())):
        def label(self, structures):
            return [replace(answer, energy=np.array([answer.energy])) for answer in super().label(structures)]

    given = LennardJones().load()
    given.__class__ = InAList
    (answer,) = ask(given, [labelled[0]], 1e9)
    assert isinstance(answer, Labels)
    assert isinstance(answer.energy, float)
