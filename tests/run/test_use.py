"""Facts of use on the page of a run: domain, code, speed, rounds."""

from __future__ import annotations

import json

import pytest

from potstill.core.elements import symbols_of
from potstill.run.folder import RunFolder
from potstill.run.use import domain_sentences, exports, load_code, path_of_user, rounds, rounds_sentences, speed_sentences


@pytest.fixture
def run(tmp_path):
    (tmp_path / "runs" / "one" / "student").mkdir(parents=True)
    return RunFolder(tmp_path / "runs" / "one")


def test_the_path_is_that_of_the_user_and_never_a_temporary_one(run, tmp_path, monkeypatch):
    (run.student / "weights.safetensors").touch()
    monkeypatch.chdir(tmp_path)
    assert path_of_user(run) == "runs/one"
    assert 'load_student("runs/one/student")' in load_code(run)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert path_of_user(run) == "one"
    assert str(tmp_path) not in load_code(run)
    compile(load_code(run), "code", "exec")


def test_there_is_no_code_without_a_student(run):
    assert load_code(run) == ""
    assert exports(run) == []


def test_the_domain_names_elements_sizes_and_distances(kit, run, tmp_path):
    data = kit.make_dataset(tmp_path / "d.h5", [kit.molecule(0), kit.crystal(0)])
    config = {
        "elements": ["H", "O"],
        "architecture": {"cutoff_angstrom": 4.5},
        "domain": {"closest_angstrom": {"H-O": 0.91, "H-H": 1.4}, "most_neighbors": 7},
    }
    (run.student / "config.json").write_text(json.dumps(config))
    text = " ".join(domain_sentences(run, data))
    assert "The student knows 2 elements: H, O." in text
    assert "2 structures of 3 atoms (1 crystals, 1 molecules)" in text
    assert "none closer than 0.91 Å (H-O), and 7 neighbors" in text
    assert "its own MD" not in text
    (run.active_learning / "02").mkdir(parents=True)
    kit.make_dataset(run.active_learning / "02" / "dataset.h5", [kit.molecule(0), kit.crystal(0), kit.crystal(1)])
    assert "With frames of its own MD, it learned from 1 structure." in domain_sentences(run, data)
    (run.student / "config.json").write_text("{")
    assert "The student will know" in domain_sentences(run, data)[0]


def test_start_and_replay_are_told_with_the_elements_that_only_replayed_data_have(kit, run, tmp_path):
    data = kit.make_dataset(tmp_path / "d.h5", [kit.molecule(0), kit.crystal(0)])
    own = symbols_of(sorted({*kit.molecule(0).atomic_numbers.tolist(), *kit.crystal(0).atomic_numbers.tolist()}))
    replay = {"structures": 9, "each_epoch": 3, "held_out": 2, "forces_before": 0.2222, "forces_after": 0.25}
    replay |= {"energy_before": 0.01, "energy_after": 0.02}
    config = {"elements": [*own, "Pu", "Xe"], "made_from": {"start": "abc"}, "replay": replay}
    run.set_stage("train", "done", 1.0, made_from={"train": {"start": "general"}})

    def told(**changed) -> str:
        (run.student / "config.json").write_text(json.dumps({**config, **changed}))
        return " ".join(domain_sentences(run, data))

    assert "It was trained on from the student general. Each epoch had 3 replayed structures besides" in told()
    assert "On 2 held-out structures of those, its force error is 0.25 eV/Å, that of the start was 0.222 eV/Å" in told()
    assert "its energy error is 20 meV/atom, that of the start was 10 meV/atom." in told()
    assert "It knows 2 elements by replay alone: Pu, Xe. No gate of the evaluation looked at these" in told()
    assert "by replay alone" not in told(elements=own)
    assert "held-out" not in told(replay={"structures": 9, "each_epoch": 3, "held_out": 0})
    assert "It was trained on from the student general. It" not in told(replay=None, elements=own)
    assert "It was trained on from the student general." in told(replay=None, elements=own)
    assert "trained on from" not in told(replay=None, elements=own, made_from={"start": None})


def test_speed_names_atoms_and_threads(kit, tmp_path):
    data = kit.make_dataset(tmp_path / "d.h5", [kit.crystal(0)])
    sized = {"system": "crystals-0", "atoms": 64, "threads": 1, "student_ns_per_day": 2.5, "teacher_ns_per_day": 0.1}
    moved = {"system": "other", "atoms": 32, "steps_per_second": 100.0, "timestep_fs": 0.5}
    record = {"machine": {"processor": "Some CPU"}}
    first, second = speed_sentences({"speed_by_size": [sized], "nve": [moved]}, record, data)
    assert first.startswith("2.5 ns/day at 1 fs with 64 atoms of ")
    assert first.endswith("(crystals-0), the teacher 0.1: energy and forces alone, 1 thread on Some CPU.")
    assert second == "4.32 ns/day of dynamics in ASE at 0.5 fs with 32 atoms of other."
    assert speed_sentences({}, {}, None) == []


def test_rounds_are_linked_where_they_have_a_page(run):
    for number in ("01", "02"):
        folder = run.active_learning / number
        folder.mkdir(parents=True)
        report = {"round": int(number), "forces": {"mae": 0.5, "limit": 0.1}, "passed": False}
        (folder / "round.json").write_text(json.dumps({**report, "broken_trajectories": 0, "trajectories": []}))
    (run.active_learning / "01" / "round.html").touch()
    assert [row["address"] for row in rounds(run)] == ["active_learning/01/round.html", ""]
    (run.active_learning / "02" / "round.json").write_text("{")
    assert [row["number"] for row in rounds(run)] == [1]


def test_the_end_of_active_learning_is_a_sentence(run):
    assert rounds_sentences(rounds(run)) == []
    for number, mae, passed in (("01", 0.2, False), ("02", 0.0553, False)):
        folder = run.active_learning / number
        folder.mkdir(parents=True)
        report = {"round": int(number), "forces": {"mae": mae, "limit": 0.03}, "passed": passed}
        report |= {"broken_trajectories": 0, "trajectories": []}
        (folder / "round.json").write_text(json.dumps(report), encoding="utf-8")
    (told,) = rounds_sentences(rounds(run))
    assert told.startswith("Active learning ended after 2 rounds: force MAE 0.0553")
    assert "does not meet the gate of 0.03" in told


@pytest.mark.parametrize(
    ("mae", "said"),
    [
        (0.02, "force MAE 0.02 eV/Å in its own MD, within the gate of 0.03, but 1 of 2 trajectories broke off (atoms"),
        (
            0.05,
            "force MAE 0.05 eV/Å in its own MD, which does not meet the gate of 0.03; 1 of 2 trajectories broke off (atoms",
        ),
        (None, "without a frame to judge the student by: 1 of 2 trajectories broke off (atoms"),
    ],
)
def test_a_broken_trajectory_is_no_missed_limit(run, mae, said):
    folder = run.active_learning / "01"
    folder.mkdir(parents=True)
    report = {"round": 1, "forces": {"mae": mae, "limit": 0.03}, "passed": False, "broken_trajectories": 1}
    report["trajectories"] = [
        {"start": "a", "atoms": 8, "temperature_kelvin": 300.0, "length_ps": 1.0, "ended": "finished"},
        {"start": "b", "atoms": 8, "temperature_kelvin": 900.0, "length_ps": 0.4, "ended": "too_close"},
    ]
    (folder / "round.json").write_text(json.dumps(report), encoding="utf-8")
    (told,) = rounds_sentences(rounds(run))
    assert said in told
    assert told.endswith("came too close after 0.4 ps at 900 K).")
