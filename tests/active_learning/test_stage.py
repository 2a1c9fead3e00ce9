"""Rounds: a student is shown what it meets, goes on where it was killed, and gets better where it goes."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from itertools import count
from pathlib import Path

import ase.io
import h5py
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from potstill.active_learning import explore, stage
from potstill.active_learning.explore import Candidate, choose, visit
from potstill.active_learning.options import ActiveLearningConfig
from potstill.active_learning.stage import errors_of, learn_actively, starting_structures
from potstill.active_learning.students import keep_first, made_from
from potstill.config import Config, parse_config
from potstill.core.errors import InputError, PotstillError
from potstill.core.types import Labels, Structure
from potstill.dataset import Dataset, merge, write_part
from potstill.deploy import load_student
from potstill.execute import LocalExecutor
from potstill.generate.stage import generate
from potstill.label.stage import assemble, label
from potstill.teacher.classical import EMT
from potstill.testing import copper
from potstill.train.job import TrainJob
from potstill.train.options import TrainConfig
from potstill.train.provenance import differences, stated
from potstill.train.provenance import made_from as trained_from
from potstill.train.stage import train
from potstill.train.start import start_of

SIZES = {"cutoff_angstrom": 4.0, "layers": 1, "features": 16, "channels": 8, "products": 8, "radial": 4, "hidden": 32}


def config_of(folder: Path, **rounds) -> Config:
    ase.io.write(folder / "mine.extxyz", [bulk("Cu", cubic=True), bulk("Cu", cubic=True, a=3.7)])
    sources = [
        {"source": "files", "paths": ["mine.extxyz"], "count": 2},
        {"source": "perturb", "count": 12, "rattle_angstrom": [0.01, 0.05], "max_strain": 0.02},
    ]
    asked = {"trajectories": 2, "length_ps": 0.1, "temperatures_kelvin": [600.0], "frames": 8, "epochs": 10, **rounds}
    return parse_config(
        {
            "workers": 1,
            "generate": {"sources": sources},
            "label": {"teacher": {"name": "emt"}},
            "student": SIZES,
            "train": {"epochs": 20, "batch_structures": 4, "learning_rate": 1e-2, "ema_decay": 0.9},
            "active_learning": asked,
        },
        folder=folder,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Path, Config]:
    """A dataset and a trained student."""
    folder = tmp_path_factory.mktemp("run")
    config = config_of(folder, max_rounds=2, max_force_error_ev_per_angstrom=1e-4)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
        generate(config.generate, folder / "structures", seed=1, workers=1)
        structures = folder / "structures" / "structures.h5"
        parts = label(config.label, structures, folder / "label", workers=1)
        attributes = {"config": json.dumps(config.model_dump(mode="json"))}
        assemble(parts, structures, folder / "dataset.h5", split=config.dataset, seed=1, attributes=attributes)
        train(TrainJob.on(Dataset(folder / "dataset.h5"), config.student, config.train, folder / "student", seed=1))
        before = load_student(folder / "student")
        learn_actively(
            config, folder / "dataset.h5", folder / "student", folder / "active_learning", executor=LocalExecutor(1)
        )
    (folder / "before").mkdir()
    torch.save(before.model.state_dict(), folder / "before" / "weights.pt")
    return folder, config


def test_each_round_leaves_its_files(run):
    folder, _ = run
    for number in ("01", "02"):
        here = folder / "active_learning" / number
        names = {path.name for path in here.iterdir()}
        assert {"visited.h5", "new.h5", "round.json", "dataset.h5", "student"} <= names
        report = json.loads((here / "round.json").read_text(encoding="utf-8"))
        assert not report["passed"]
        assert report["forces"]["mae"] > report["forces"]["limit"] == 1e-4
        assert report["by_reason"]["regular"]["frames"] >= 1
        assert [row["kelvin"] for row in report["by_temperature"]] == [600.0]
        assert report["uncertainty"]["atoms"] == int(Dataset(here / "new.h5").ptr[-1])


def test_errors_on_replayed_structures_are_compared_with_the_start_of_the_first_training(run, tmp_path, caplog):
    folder, _ = run
    config = config_of(tmp_path, max_rounds=2, max_force_error_ev_per_angstrom=1e-4, frames=2, length_ps=0.02, epochs=2)
    start, student = folder / "active_learning" / "first", tmp_path / "student"
    earlier, file = np.array([0] * 4 + [2] * 2, np.uint8), tmp_path / "earlier.h5"
    cells = [copper().with_(id=f"cell-{k}", family="earlier", source="earlier") for k in range(6)]
    rng = np.random.default_rng(3)
    moved = [s.with_(positions=s.positions + rng.normal(0, 0.1, s.positions.shape)) for s in cells]
    answers = zip(moved, EMT().load().label(moved), strict=True)
    write_part(tmp_path / "part.h5", [s.with_(labels=labels) for s, labels in answers], labelled=True)
    merge([tmp_path / "part.h5"], file, attributes={"teacher": {"name": "another"}}, splits=earlier)
    asked = {
        "start": str(start),
        "replay": {"dataset": str(file)},
        "epochs": 2,
        "batch_structures": 4,
        "learning_rate": 1e-2,
    }
    config = config.model_copy(update={"train": TrainConfig.model_validate(asked)})
    new = Dataset(folder / "dataset.h5")
    train(TrainJob.on(new, config.student, config.train, student, seed=1, start=start_of(config.train, new)))
    first = json.loads((student / "config.json").read_text(encoding="utf-8"))["replay"]
    caplog.set_level("INFO")
    learn_actively(config, new.path, student, tmp_path / "active_learning", executor=LocalExecutor(1))
    last = json.loads((student / "config.json").read_text(encoding="utf-8"))["replay"]
    assert (tmp_path / "active_learning" / "02" / "student" / "config.json").exists()
    for name in ("forces", "energy"):
        assert last[f"{name}_before"] == first[f"{name}_before"]
        assert last[f"{name}_after"] != first[f"{name}_after"]
    assert caplog.text.count(f"forces {first['forces_before']:.3g} eV/Å of train.start") == 2


def test_datasets_grow_and_no_family_straddles(run):
    folder, _ = run
    first, grown = Dataset(folder / "dataset.h5"), Dataset(folder / "active_learning" / "02" / "dataset.h5")
    new = [Dataset(folder / "active_learning" / number / "new.h5") for number in ("01", "02")]
    assert len(grown) == len(first) + sum(map(len, new))
    assert len(set(grown.ids)) == len(grown)
    assert grown.attributes["teacher"] == first.attributes["teacher"]
    sides: dict[str, set[int]] = {}
    for family, side in zip(grown.families, grown.splits, strict=True):
        sides.setdefault(family, set()).add(int(side))
    assert all(len(side) == 1 for side in sides.values())


def test_frames_that_the_student_expects_to_be_refused_are_not_labelled(run):
    folder, config = run
    starts = starting_structures(Dataset(folder / "dataset.h5"), ())
    student = load_student(folder / "student")
    calm, _, _ = visit(student, starts, config.active_learning, max_force=30.0, number=1, seed=0)
    frames, _, journeys = visit(student, starts, config.active_learning, max_force=1e-6, number=1, seed=0)
    assert len(calm) == 8
    assert frames == []
    assert {journey["ended"] for journey in journeys} == {"exploded"}


def test_refused_frames_are_replaced(run, tmp_path, monkeypatch):
    folder, _ = run
    config = config_of(tmp_path, max_rounds=1, max_force_error_ev_per_angstrom=1e-4, frames=4)
    student, rounds = shutil.copytree(folder / "student", tmp_path / "student"), tmp_path / "active_learning"
    starts = starting_structures(Dataset(folder / "dataset.h5"), ())
    seen = visit(load_student(student), starts, config.active_learning, max_force=30.0, number=1, seed=config.seed)
    assert len(seen.spares) >= 2
    teacher = EMT().load()
    largest = [np.linalg.norm(x.forces, axis=1).max() for x in teacher.label([*seen.frames, *seen.spares])]
    limit = float(np.median(largest[:4]))
    stricter = config.label.model_copy(update={"max_force_ev_per_angstrom": limit})
    monkeypatch.setattr(stage, "label", lambda _, *rest, **options: label(stricter, *rest, **options))
    learn_actively(config, folder / "dataset.h5", student, rounds, executor=LocalExecutor(1))
    new = Dataset(rounds / "01" / "new.h5")
    good = sum(force <= limit for force in largest)
    assert len(new) == min(4, good) > sum(force <= limit for force in largest[:4])
    assert "spare" in [s.generator_metadata["reason"] for s in new]
    assert len(new.refused) >= 2
    assert len(set(new.ids)) == len(new)


def test_a_trajectory_without_numbers_ends_and_is_counted(run, monkeypatch):
    folder, config = run
    student, calls = load_student(folder / "student"), count()

    def shaken(structures, **_):
        size = np.inf if next(calls) > 3 else 0.0
        return [Labels(0.0, np.full(s.positions.shape, size), None) for s in structures]

    monkeypatch.setattr(student, "label", shaken)
    frames, _, journeys = visit(student, [copper()], config.active_learning, max_force=30.0, number=1, seed=0)
    assert frames == []
    assert [journey["ended"] for journey in journeys] == ["failed", "failed"]


def test_at_a_pressure_frames_have_other_volumes(run):
    folder, config = run
    student = load_student(folder / "student")
    asked = config.active_learning.model_copy(update={"pressure_gpa": 0.0})
    frames, _, journeys = visit(student, [copper()], asked, max_force=30.0, number=1, seed=0)
    assert {journey["ended"] for journey in journeys} == {"finished"}
    volumes = [frame.volume / len(frame) for frame in frames]
    assert len(set(volumes)) == len(frames)
    scaled = [frame.positions @ np.linalg.inv(frame.cell) for frame in frames]
    assert np.ptp(scaled, axis=0).max() < 0.3  # atoms moved with the cell


def test_a_trajectory_ends_where_a_barostat_blows_its_cell_up(run, monkeypatch):
    folder, config = run
    student, true = load_student(folder / "student"), load_student(folder / "student").label

    def pushed(structures, **options):
        return [replace(found, stress=-1.0 * np.eye(3)) for found in true(structures, **options)]

    monkeypatch.setattr(student, "label", pushed)
    asked = config.active_learning.model_copy(update={"pressure_gpa": 0.0, "length_ps": 1.0})
    _, _, journeys = visit(student, [copper()], asked, max_force=1e6, number=1, seed=0)
    assert {journey["ended"] for journey in journeys} == {"exploded"}


def test_trajectories_that_run_in_groups_find_the_same(run, monkeypatch):
    folder, config = run
    student, starts = load_student(folder / "student"), starting_structures(Dataset(folder / "dataset.h5"), ())
    times = []
    asked = config.active_learning.model_copy(update={"length_ps": 1.1, "trajectories": 3})
    together = visit(student, starts, asked, max_force=30.0, number=1, seed=0, on_time=times.append)
    assert times == [1.0]
    monkeypatch.setattr(explore, "ATOMS_TOGETHER", 1)
    alone = visit(student, starts, asked, max_force=30.0, number=1, seed=0, on_time=times.append)
    assert times == [1.0] * 4
    assert [journey["ended"] for journey in alone.journeys] == ["finished"] * 3
    assert alone.journeys == together.journeys
    for one, other in zip(alone.frames[:2], together.frames[:2], strict=True):
        assert one.positions == pytest.approx(other.positions, abs=0.05)


def test_a_round_without_frames_is_judged_as_such(run, tmp_path):
    folder, _ = run
    config = config_of(tmp_path, max_rounds=1)
    config = config.model_copy(update={"label": config.label.model_copy(update={"max_force_ev_per_angstrom": 1e-6})})
    for name in ("student", "active_learning"):
        shutil.copytree(folder / name, tmp_path / name)
    for name in ("01", "02"):
        shutil.rmtree(tmp_path / "active_learning" / name)
    (report,) = learn_actively(
        config, folder / "dataset.h5", tmp_path / "student", tmp_path / "active_learning", executor=LocalExecutor(1)
    )
    assert report["forces"]["mae"] is None
    assert not report["passed"]


def test_frames_labelled_by_another_teacher_are_refused(run, tmp_path):
    folder, config = run
    for name in ("student", "active_learning"):
        shutil.copytree(folder / name, tmp_path / name)
    shutil.rmtree(tmp_path / "active_learning" / "02")
    (tmp_path / "active_learning" / "01" / "new.h5").unlink()
    stated = json.loads(Dataset(folder / "dataset.h5").attributes["teacher"])
    (tmp_path / "dataset.h5").write_bytes((folder / "dataset.h5").read_bytes())
    with h5py.File(tmp_path / "dataset.h5", "r+") as file:
        file.attrs["teacher"] = json.dumps({**stated, "weights": "of another version"})
    files = (tmp_path / name for name in ("dataset.h5", "student", "active_learning"))
    with pytest.raises(InputError, match=r"not the one that labelled the dataset") as refused:
        learn_actively(config, *files, executor=LocalExecutor(1))
    assert stated["weights"] in str(refused.value)
    assert "of another version" in str(refused.value)


def test_a_round_that_diverges_names_its_learning_rate(run, tmp_path):
    folder, config = run
    for name in ("student", "active_learning"):
        shutil.copytree(folder / name, tmp_path / name)
    options = config.active_learning.model_copy(update={"learning_rate": 1e12})
    again = config.model_copy(update={"active_learning": options})
    files = (folder / "dataset.h5", tmp_path / "student", tmp_path / "active_learning")
    with pytest.raises(
        PotstillError, match=r"diverged: epoch \d+ .* rate of 1e\+12\n.* active_learning\.learning_rate in a round"
    ):
        learn_actively(again, *files, executor=LocalExecutor(1))


def test_the_student_of_the_run_is_that_of_the_last_round(run):
    folder, _ = run
    last, given = (load_student(path) for path in (folder / "active_learning" / "02" / "student", folder / "student"))
    before = torch.load(folder / "before" / "weights.pt", weights_only=True)
    names = list(before)
    assert all(torch.equal(last.model.state_dict()[n], given.model.state_dict()[n]) for n in names)
    assert not all(torch.equal(before[n], given.model.state_dict()[n]) for n in names)
    assert torch.equal(before["reference_energies"], given.model.state_dict()["reference_energies"])
    assert given.uncertainty is not None
    assert given.config["active_learning"] == 2


def test_finished_rounds_are_not_done_again(run):
    folder, config = run
    said: list[str] = []
    files = ("active_learning/01/visited.h5", "active_learning/02/new.h5", "active_learning/02/student/config.json")
    times = [(folder / name).stat().st_mtime_ns for name in files]
    learn_actively(
        config,
        folder / "dataset.h5",
        folder / "student",
        folder / "active_learning",
        executor=LocalExecutor(1),
        on_step=said.append,
    )
    assert said == []
    assert [(folder / name).stat().st_mtime_ns for name in files] == times


def test_a_changed_gate_is_applied_to_rounds_that_are_judged(run, tmp_path):
    folder, config = run
    for name in ("student", "active_learning"):
        shutil.copytree(folder / name, tmp_path / name)
    rounds = tmp_path / "active_learning"
    lenient = config.active_learning.model_copy(update={"max_force_error_ev_per_angstrom": 50.0})
    (report, *_) = learn_actively(
        config.model_copy(update={"active_learning": lenient}),
        folder / "dataset.h5",
        tmp_path / "student",
        rounds,
        executor=LocalExecutor(1),
    )
    stored = json.loads((rounds / "01" / "round.json").read_text(encoding="utf-8"))
    assert stored["forces"]["limit"] == report["forces"]["limit"] == 50.0
    assert stored["passed"] == report["passed"] == (report["broken_trajectories"] == 0)


def test_the_student_says_what_it_was_made_from(run):
    folder, config = run
    dataset = Dataset(folder / "dataset.h5")
    first = trained_from(dataset, config.student, config.train, seed=1)
    assert stated(folder / "active_learning" / "first") == first
    assert stated(folder / "student") == made_from(first, config.active_learning)
    other = config.active_learning.model_copy(update={"frames": 9})
    assert differences(stated(folder / "student"), made_from(first, other)) == ["active_learning.frames was 8, is 9"]


def test_rounds_of_another_student_are_set_aside(run, tmp_path, caplog):
    folder, _ = run
    first, rounds = tmp_path / "student", tmp_path / "active_learning"
    shutil.copytree(folder / "active_learning", rounds)
    shutil.copytree(rounds / "first", first)
    assert keep_first(first, rounds) == rounds / "first"
    assert (rounds / "01").is_dir()
    told = json.loads((first / "config.json").read_text(encoding="utf-8"))
    told["made_from"]["train"]["epochs"] = 21
    (first / "config.json").write_text(json.dumps(told), encoding="utf-8")
    keep_first(first, rounds)
    assert sorted(p.name for p in rounds.iterdir() if p.is_dir()) == ["01.old", "02.old", "first", "first.old"]
    assert stated(rounds / "first") == told["made_from"]
    assert "train.epochs was 20, is 21" in caplog.text


def test_a_round_tells_its_error_and_the_limit(run, tmp_path):
    folder, config = run
    for name in ("student", "active_learning"):
        shutil.copytree(folder / name, tmp_path / name)
    rounds, said = tmp_path / "active_learning", []
    (rounds / "01" / "round.json").unlink()
    executor = LocalExecutor(1)
    found = learn_actively(
        config, folder / "dataset.h5", tmp_path / "student", rounds, executor=executor, on_step=said.append
    )
    forces = found[0]["forces"]
    assert said[-1].startswith(f"round 1: force MAE {forces['mae']:.3g} eV/Å")
    assert said[-1].endswith(f"limit is {forces['limit']:g}")


def test_ctrl_c_leaves_the_best_student_so_far(run, tmp_path):
    folder, config = run
    for name in ("student", "active_learning"):
        shutil.copytree(folder / name, tmp_path / name)
    rounds = tmp_path / "active_learning"
    for path in (rounds / "first").iterdir():
        shutil.copyfile(path, tmp_path / "student" / path.name)  # as the first training left it
    shutil.rmtree(rounds / "02")

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn_actively(
            config, folder / "dataset.h5", tmp_path / "student", rounds, executor=LocalExecutor(1), on_step=interrupt
        )
    best, given = (load_student(path).model.state_dict() for path in (rounds / "01" / "student", tmp_path / "student"))
    assert all(torch.equal(best[name], given[name]) for name in best)
    assert stated(tmp_path / "student")["active_learning"]["after_round"] == 1


@pytest.mark.parametrize("text", ["", "{}", "[1]"])
def test_a_damaged_report_is_an_error_of_one_line(run, tmp_path, text):
    folder, config = run
    for name in ("student", "active_learning"):
        shutil.copytree(folder / name, tmp_path / name)
    rounds = tmp_path / "active_learning"
    (rounds / "01" / "round.json").write_text(text, encoding="utf-8")
    with pytest.raises(PotstillError, match=r"round\.json is damaged \(.*\)\n  remove it"):
        learn_actively(config, folder / "dataset.h5", tmp_path / "student", rounds, executor=LocalExecutor(1))


def test_a_student_that_is_good_enough_passes_at_once(run, tmp_path):
    folder, _ = run
    config = config_of(tmp_path, max_rounds=3, max_force_error_ev_per_angstrom=50.0, min_scaled_distance=0.05)
    (report,) = learn_actively(
        config, folder / "dataset.h5", folder / "student", tmp_path / "active_learning", executor=LocalExecutor(1)
    )
    assert report["passed"] == (report["broken_trajectories"] == 0)
    assert not (tmp_path / "active_learning" / "01" / "student").exists() or not report["passed"]


def test_expected_errors_are_scaled_to_those_on_own_trajectories(run, tmp_path):
    folder, _ = run
    config = config_of(tmp_path, max_rounds=3, max_force_error_ev_per_angstrom=50.0, min_scaled_distance=0.05)
    rounds, last = tmp_path / "active_learning", folder / "active_learning" / "02" / "student"
    student = shutil.copytree(last, tmp_path / "student")
    before = load_student(student)
    (report,) = learn_actively(config, folder / "dataset.h5", student, rounds, executor=LocalExecutor(1))
    assert report["passed"]
    after = load_student(student)
    new = [s for s in Dataset(rounds / "01" / "new.h5") if s.generator_metadata["reason"] == "regular"]
    assert all(torch.equal(x, after.model.state_dict()[name]) for name, x in before.model.state_dict().items())
    assert after.config["uncertainty"]["of"] == "own trajectories"
    assert "active_learning" in stated(student)
    for known, agrees in ((before, False), (after, True)):
        expected, error = errors_of(known, new)
        error = np.linalg.norm(error, axis=1)
        assert (abs(expected.mean() / error.mean() - 1) < 0.1) == agrees
        assert (0.9 <= np.mean(error <= known.uncertainty.bounds(expected)) <= 0.95) == agrees
    again = learn_actively(config, folder / "dataset.h5", student, rounds, executor=LocalExecutor(1))
    assert again == [report]


def test_trajectories_start_from_the_users_own_files(run):
    folder, _ = run
    dataset = Dataset(folder / "dataset.h5")
    assert {s.source for s in starting_structures(dataset, ())} == {"files"}
    assert {s.source for s in starting_structures(dataset, ("perturb",))} == {"perturb"}
    with pytest.raises(InputError, match="the training part has no structure of elsewhere"):
        starting_structures(dataset, ("elsewhere",))


def test_frames_are_regular_strange_and_uncertain():
    expected = [0.1, 0.2, 9.0, 0.3, 0.2, 5.0, 0.1, 0.1, 0.2, 0.1]
    candidates = [Candidate(copper(), 0, k, 300.0, e, strange=k == 9) for k, e in enumerate(expected)]
    reasons = choose(candidates, ActiveLearningConfig(frames=6, regular_fraction=1 / 3))
    assert len(reasons) == 6
    assert [k for k, reason in reasons.items() if reason == "regular"] == [2, 6]
    assert reasons[9] == "strange"
    assert reasons[5] == "uncertain"
    assert choose([], ActiveLearningConfig()) == {}


def test_frames_that_judge_are_not_the_start():
    """A frame right after the start is nearly a structure that was trained on."""
    candidates = [Candidate(copper(), k // 10, 20.0 * (k % 10 + 1), 300.0, 0.1) for k in range(30)]
    reasons = choose(candidates, ActiveLearningConfig(frames=9, regular_fraction=1 / 3))
    assert [k for k, reason in reasons.items() if reason == "regular"] == [5, 15, 25]


def test_frames_that_judge_are_of_all_trajectories():
    """Each is judged by its share, also where their lengths differ."""
    lengths = (150, 150, 60, 1)
    candidates = [
        Candidate(copper(), number, 20.0 * (k + 1), 300.0, 0.1) for number, n in enumerate(lengths) for k in range(n)
    ]
    reasons = choose(candidates, ActiveLearningConfig(frames=16, regular_fraction=0.3))
    judging = [candidates[k] for k, reason in reasons.items() if reason == "regular"]
    assert [sum(c.trajectory == number for c in judging) for number in range(4)] == [2, 2, 1, 0]
    assert min(c.time_fs for c in judging) > 400.0


def test_trajectories_do_not_start_from_a_lone_atom(tmp_path):
    atom, crystal = (
        s.with_(id=f"{k}", source="files", labels=Labels(0.0, np.zeros((len(s), 3)), None))
        for k, s in enumerate((Structure.from_ase(Atoms("Cu")), copper()))
    )
    for some, expected in (([atom, crystal], ["1"]), ([atom], ["0"])):
        path = tmp_path / f"{len(some)}.h5"
        write_part(tmp_path / "part.h5", some, labelled=True)
        merge([tmp_path / "part.h5"], path, attributes={}, splits=np.zeros(len(some), np.uint8))
        assert [s.id for s in starting_structures(Dataset(path), ["files"])] == expected


def test_frames_for_the_teacher_are_apart_in_time():
    """Where one moment has all the largest expected errors, one frame of it is taken, and the start is left out."""
    expected = [0.1 + 0.001 * k for k in range(100)]
    expected[0], expected[1], expected[50:55] = 9.0, 9.0, [1.0, 1.1, 1.2, 1.1, 1.0]
    candidates = [Candidate(copper(), 0, 20.0 * (k + 1), 300.0, e) for k, e in enumerate(expected)]
    reasons = choose(candidates, ActiveLearningConfig(frames=10, regular_fraction=0.1))
    times = sorted(candidates[k].time_fs for k in reasons)
    assert len(times) == 10
    assert np.diff([0.0, *times]).min() >= 100.0
    assert len([k for k in reasons if 50 <= k < 55]) == 1
    crowded = [Candidate(copper(), 0, 20.0, 300.0, 0.1) for _ in range(10)]
    assert len(choose(crowded, ActiveLearningConfig(frames=10))) == 10, "all are taken where none is apart"


@pytest.mark.parametrize("frames", [1, 4, 7, 40])
@pytest.mark.parametrize("strange", [0, 6, 12])
def test_no_more_frames_are_chosen_than_asked_for(frames, strange):
    """Six trajectories that each end in a strange frame once gave seven frames where four were asked for."""
    ends = [10 * k - 1 for k in range(1, 7)] + [10 * k for k in range(6)]
    candidates = [Candidate(copper(), k // 10, k, 300.0, 0.1 * k, strange=k in ends[:strange]) for k in range(60)]
    reasons = choose(candidates, ActiveLearningConfig(frames=frames, regular_fraction=1 / 3))
    assert len(reasons) == frames
    assert list(reasons.values()).count("regular") == max(1, round(frames / 3))
    if frames == 4 and strange == 6:
        assert sorted(k for k, reason in reasons.items() if reason == "strange") == [
            39,
            49,
            59,
        ]


def test_strange_frames_alone_are_cut_as_well():
    candidates = [Candidate(copper(), k, k, 300.0, 0.1 * k, strange=True) for k in range(6)]
    assert choose(candidates, ActiveLearningConfig(frames=4)) == dict.fromkeys((5, 4, 3, 2), "strange")


def test_an_interval_longer_than_a_trajectory_is_refused():
    with pytest.raises(ValueError, match="longer than a trajectory"):
        ActiveLearningConfig(interval_fs=1e5, length_ps=3.0)


def test_rounds_need_uncertainty():
    generate_ = {"sources": [{"source": "benchmark", "count": 1}]}
    with pytest.raises(InputError, match=r"set train\.uncertainty to true"):
        parse_config({"generate": generate_, "train": {"uncertainty": False}, "active_learning": {}})
