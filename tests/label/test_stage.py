"""The stage ``label``: what a teacher may do wrong, injected, and what becomes of it."""

from __future__ import annotations

import json
from collections.abc import Callable

import h5py
import numpy as np
import pytest
import torch

from potstill.core.errors import DatasetError, PotstillError
from potstill.core.types import Labels, Refused, Structure, Teacher
from potstill.dataset import Dataset, open_dataset
from potstill.dataset.options import SplitConfig
from potstill.execute import LocalExecutor
from potstill.label.stage import LabelTask, ask, assemble, label, label_structures, workers_at_once
from potstill.teacher.batching import label_each
from potstill.teacher.classical import EMT, LennardJones
from potstill.teacher.options import TeacherOptions
from potstill.teacher.sevennet import SevenNet


class Faulty:
    """The Lennard-Jones teacher, with its answers passed through ``spoil(k, structure, labels)``."""

    def __init__(self, honest: Teacher, spoil: Callable) -> None:
        self.honest, self.spoil = honest, spoil
        self.fingerprint = {**honest.fingerprint, "name": "faulty"}

    def label(self, structures):
        return [self.spoil(k, s, a) for k, (s, a) in enumerate(zip(structures, self.honest.label(structures), strict=True))]


def at(index: int, make: Callable) -> Callable:
    return lambda k, s, a: make(s, a) if k == index else a


FAULTS = {
    "NaN energy": (lambda s, a: Labels(np.nan, a.forces, a.stress), "not_finite"),
    "infinite energy": (lambda s, a: Labels(-np.inf, a.forces, a.stress), "not_finite"),
    "NaN force": (lambda s, a: Labels(a.energy, np.where(np.arange(len(s))[:, None] == 0, np.nan, a.forces)), "not_finite"),
    "NaN stress": (lambda s, a: Labels(a.energy, a.forces, np.full((3, 3), np.nan)), "not_finite"),
    "exploding forces": (lambda s, a: Labels(a.energy, np.full((len(s), 3), 1e7), a.stress), "force_limit"),
    "218 eV/Å on one atom": (lambda s, a: Labels(a.energy, np.eye(len(s), 3) * 218.0, a.stress), "force_limit"),
    "crushed": (lambda s, a: Labels(a.energy, a.forces, 1.1 * np.eye(3)), "stress_limit"),
    "flat forces": (lambda s, a: Labels(a.energy, a.forces.ravel(), a.stress), "wrong_shape"),
    "an atom too many": (lambda s, a: Labels(a.energy, np.zeros((len(s) + 1, 3)), a.stress), "wrong_shape"),
    "Voigt stress": (lambda s, a: Labels(a.energy, a.forces, np.zeros(6)), "wrong_shape"),
    "refused": (lambda s, a: Refused("teacher_error", "no idea"), "teacher_error"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_answer_refuses_its_structure_and_no_other(parents, lj, fault):
    make, reason = FAULTS[fault]
    answers = ask(Faulty(lj, at(3, make)), parents, 30.0, 1.0)
    assert [k for k, a in enumerate(answers) if isinstance(a, Refused)] == [3]
    assert answers[3].reason == reason
    assert answers[3].detail


def test_the_force_limit_is_on_the_length(parents, lj):
    def push(s, a):
        return Labels(a.energy, np.eye(len(s), 3) * 0 + [18.0, 18.0, 18.0], a.stress)  # 31.2 in length

    answers = ask(Faulty(lj, at(0, push)), parents, 30.0)
    assert isinstance(answers[0], Refused)
    assert "31.2 eV/Å > 30" in answers[0].detail
    assert isinstance(ask(Faulty(lj, at(0, push)), parents, 31.2)[0], Labels)


@pytest.mark.parametrize("change", [lambda a: a[:-1], lambda a: [*a, a[0]], lambda a: []])
def test_a_wrong_number_of_answers_stops_the_run(parents, lj, change):
    class Miscounting(Faulty):
        def label(self, structures):
            return change(self.honest.label(structures))

    with pytest.raises(PotstillError, match=f"answers for {len(parents)} structures"):
        ask(Miscounting(lj, at(0, None)), parents, 30.0)


def test_an_exception_on_one_structure(parents):
    def fail(structure: Structure) -> Labels:
        if structure is parents[4]:
            raise MemoryError("no more")
        return Labels(0.0, np.zeros((len(structure), 3)))

    answers = label_each(parents, fail)
    assert [k for k, a in enumerate(answers) if isinstance(a, Refused)] == [4]
    assert answers[4].detail == "MemoryError: no more"


# --- the whole stage ---------------------------------------------------------------------------------------------


class Config:
    """The part of section ``label`` that the stage reads."""

    def __init__(self, teacher: TeacherOptions) -> None:
        self.teacher, self.structures_per_task, self.max_force_ev_per_angstrom = teacher, 10, 30.0
        self.max_stress_ev_per_cubic_angstrom = 1e9
        self.timeout_seconds_per_structure = 60.0
        self.extra: tuple = ()
        self.committee: tuple = ()


LJ = LennardJones(sigma_angstrom=0.9)


def finish(parts, structures, path) -> Dataset:
    split = SplitConfig(valid_fraction=0.1, test_fraction=0.2)
    assemble(parts, structures, path, split=split, seed=1, attributes={"workers": 1, "label_seconds": 2.0})
    return open_dataset(path)


def test_from_structures_to_dataset(structures, labelled, tmp_path):
    seen = []
    parts = label(Config(LJ), structures, tmp_path / "label", workers=1, on_progress=lambda c: seen.append(c.labelled))
    assert [p.name for p in parts] == [
        "00000000-00000010.h5",
        "00000010-00000020.h5",
        "00000020-00000030.h5",
        "00000030-00000036.h5",
    ]
    assert seen == [10, 10, 10, 6]
    dataset = finish(parts, structures, tmp_path / "dataset.h5")
    assert dataset.verify() == []
    assert json.loads(dataset.attributes["teacher"]) == dict(LJ.load().fingerprint)
    assert [r.reason for r in dataset.refused] == ["too_close"]
    for stored, meant in zip(dataset, labelled, strict=True):
        assert stored.id == meant.id
        assert stored.labels.energy == pytest.approx(meant.labels.energy, abs=1e-12)
        np.testing.assert_allclose(stored.labels.forces, meant.labels.forces, rtol=1e-6, atol=1e-9)
        assert (stored.labels.stress is None) == (not stored.pbc.all())
    sides = [set(dataset.families[dataset.split(name)]) for name in ("train", "valid", "test")]
    assert sides[0].isdisjoint(sides[1] | sides[2])
    assert sides[1].isdisjoint(sides[2])


def test_two_workers_give_the_same(structures, tmp_path):
    sums = []
    for workers in (1, 2):
        parts = label(Config(LJ), structures, tmp_path / f"label{workers}", workers=workers)
        dataset = finish(parts, structures, tmp_path / f"{workers}.h5")
        sums.append(json.loads(dataset.attributes["checksums"]))
    assert sums[0] == sums[1]


def test_refusals_are_kept_with_their_ids(structures, tmp_path, faulty, labelled):
    bad = {s.id: "NaN energy" for s in labelled if int(s.id[-6:]) % 5 == 0}
    teacher = faulty.Faulty(faults=bad, knows=tuple(range(1, 119)))
    parts = label(Config(teacher), structures, tmp_path / "label", workers=1)
    dataset = finish(parts, structures, tmp_path / "dataset.h5")
    refused = [r for r in dataset.refused if r.stage == "label"]
    assert {r.reason for r in refused} == {"not_finite"}
    assert len(refused) + len(dataset) == 36
    assert {r.id for r in refused} == set(bad)
    assert {r.id for r in refused}.isdisjoint(dataset.ids)
    assert all(r.source == r.id.split("-")[0] for r in refused)


def test_it_goes_on_with_what_is_there(structures, tmp_path):
    parts = label(Config(LJ), structures, tmp_path / "label", workers=1)
    before = [(p.read_bytes(), p.stat().st_mtime_ns) for p in parts]
    parts[2].unlink()
    seen = []
    label(Config(LJ), structures, tmp_path / "label", workers=1, on_progress=lambda c: seen.append(c.labelled))
    assert sorted(seen) == [6, 10, 10, 10]
    for k in (0, 1, 3):
        assert (parts[k].read_bytes(), parts[k].stat().st_mtime_ns) == before[k]
    assert parts[2].exists()


def test_a_teacher_that_was_swapped_half_way(structures, tmp_path):
    parts = label(Config(LJ), structures, tmp_path / "label", workers=1)
    other = LennardJones(sigma_angstrom=0.9, epsilon_ev=0.2001)
    label_structures(LabelTask(structures, 10, 20, other, 30.0, 1e9, parts[1]))
    with pytest.raises(DatasetError, match="different teachers") as caught:
        finish(parts, structures, tmp_path / "dataset.h5")
    assert "0.2001" in str(caught.value)
    assert not (tmp_path / "dataset.h5").exists()


def test_a_part_remembers_its_teacher(structures, tmp_path):
    for teacher in (LJ, EMT()):
        path = tmp_path / f"{teacher.name}.h5"
        label_structures(LabelTask(structures, 0, 3, teacher, 1e9, 1e9, path))
        with h5py.File(path, "r") as file:
            assert json.loads(file.attrs["teacher"]) == dict(teacher.load().fingerprint)


def test_everything_refused(structures, tmp_path):
    config = Config(LJ)
    config.max_force_ev_per_angstrom = 1e-12
    dataset = finish(label(config, structures, tmp_path / "label", workers=1), structures, tmp_path / "dataset.h5")
    assert len(dataset) == 0
    assert sum(r.reason == "force_limit" for r in dataset.refused) == 36
    assert dataset.verify() == []


def test_parts_that_changed_places(structures, tmp_path):
    config = Config(LJ)
    config.max_force_ev_per_angstrom = 3.0  # so that parts hold refusals too
    parts = label(config, structures, tmp_path / "label", workers=1)
    assert finish(parts, structures, tmp_path / "good.h5").refused
    parts[0].rename(tmp_path / "kept.h5")
    parts[1].rename(parts[0])
    (tmp_path / "kept.h5").rename(parts[1])
    with pytest.raises(DatasetError, match=r"00000000-00000010\.h5 contains labels of structures other than(.|\n)*--resume"):
        finish(parts, structures, tmp_path / "dataset.h5")


def test_a_part_that_lacks_a_structure(structures, tmp_path):
    parts = label(Config(LJ), structures, tmp_path / "label", workers=1)
    label_structures(LabelTask(structures, 30, 35, LJ, 30.0, 1e9, parts[3]))
    with pytest.raises(DatasetError, match="contain 35 structures, expected the 36 generated ones"):
        finish(parts, structures, tmp_path / "dataset.h5")


class TestWorkersAtOnce:
    @pytest.fixture
    def two_gpus(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    def test_every_core_labels_without_a_gpu(self):
        assert workers_at_once(SevenNet(device="cpu"), LocalExecutor(16)) == 16
        assert workers_at_once(LennardJones(), LocalExecutor(16)) == 16

    @pytest.mark.usefixtures("two_gpus")
    def test_two_workers_for_each_gpu(self):
        assert workers_at_once(SevenNet(), LocalExecutor(16)) == 4
        assert workers_at_once(SevenNet(), LocalExecutor(3)) == 3
        assert workers_at_once(SevenNet(device="cuda:1"), LocalExecutor(16)) == 2
        assert workers_at_once(SevenNet(device="cpu"), LocalExecutor(16)) == 16

    def test_no_more_workers_label_than_that(self, structures, tmp_path, monkeypatch):
        monkeypatch.setattr("potstill.label.stage.workers_at_once", lambda *_: 1)
        counts = []
        label(Config(LJ), structures, tmp_path, workers=2, on_progress=counts.append)
        assert len(counts) > 1
        assert len({count.worker for count in counts}) == 1
