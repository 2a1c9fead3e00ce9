"""Replay of earlier structures: their choice, their energies, and a fine-tuned student that keeps its knowledge."""

import json
from dataclasses import replace

import numpy as np
import pytest
import yaml
from ase.build import bulk

from potstill.config import dump_config, parse_config
from potstill.core.errors import InputError
from potstill.core.types import Labels, Structure
from potstill.dataset import Dataset, Records, merge, write_part
from potstill.run.plan import missing_pieces
from potstill.student.files import save_student
from potstill.student.options import StudentConfig
from potstill.testing.models import TINY, random_student
from potstill.train.data import LabelledStructures
from potstill.train.job import TrainJob
from potstill.train.options import TrainConfig
from potstill.train.replay import Joined, Shifted, held_out_of, replay_of, replayed_rows
from potstill.train.stage import train, train_student
from potstill.train.start import start_of
from potstill.train.zero import predicted_energies

SOURCES = {"generate": {"sources": [{"source": "molecules", "count": 4}]}}
KNOWN = (3, 11, 17, 29, 35)
SALT = Structure.from_ase(bulk("NaCl", "rocksalt", a=5.6, cubic=True), source="salt", family="NaCl")
COPPER = Structure.from_ase(bulk("Cu", "fcc", a=3.6, cubic=True), source="metal", family="Cu")
BROMIDE = Structure.from_ase(bulk("LiBr", "rocksalt", a=5.5, cubic=True), source="other", family="LiBr")


def labelled(cell: Structure, count: int, zero: float = 0.0, seed: int = 7) -> list[Structure]:
    """Return rattled cells with the labels of a hidden student, and a zero of each atom's energy in eV."""
    rng = np.random.default_rng(len(cell) + seed)
    moved = [
        cell.with_(positions=cell.positions + rng.normal(0, 0.1, cell.positions.shape), id=f"{cell.source}-{k}")
        for k in range(count)
    ]
    answers = random_student(KNOWN, seed=seed).label(moved)
    labels = [Labels(answer.energy + zero * len(cell), answer.forces, answer.stress) for answer in answers]
    return [s.with_(labels=one) for s, one in zip(moved, labels, strict=True)]


def stored(path, structures, held_out: int = 0, teacher: str = "hidden") -> Dataset:
    """Write a dataset whose last structures are those of ``test``."""
    write_part(path.with_suffix(".part"), structures, labelled=True)
    splits = np.array([0] * (len(structures) - held_out) + [2] * held_out, np.uint8)
    merge([path.with_suffix(".part")], path, attributes={"seed": 1, "teacher": {"name": teacher}}, splits=splits)
    return Dataset(path)


@pytest.fixture
def start(tmp_path):
    """Return the folder of a student of more elements than the new data have."""
    save_student(random_student(KNOWN, seed=5).model, tmp_path / "start", {"teacher": {"name": "hidden"}})
    return tmp_path / "start"


@pytest.fixture
def earlier(tmp_path) -> Dataset:
    return stored(tmp_path / "earlier.h5", [*labelled(COPPER, 6), *labelled(BROMIDE, 6)])


def asking(start, earlier, **options) -> TrainConfig:
    replay = {"dataset": str(earlier.path), **options.pop("replay", {})}
    usual = {"epochs": 1, "batch_structures": 4, "uncertainty": False}
    return TrainConfig.model_validate({"start": str(start), "replay": replay, **usual, **options})


def test_each_epoch_has_all_new_structures_and_others_drawn_anew(start, earlier, tmp_path):
    new = stored(tmp_path / "new.h5", labelled(SALT, 5), held_out=1)
    config = asking(start, earlier, replay={"share": 0.5})
    job = TrainJob.on(new, StudentConfig(**TINY), config, tmp_path / "out", seed=1, start=start_of(config, new))
    assert len(job.records) == 4 + 12
    batches = job.sampler(np.diff(job.records.gather(np.arange(16)).ptr))
    epochs = [sorted(np.concatenate(list(batches.of_epoch(epoch))).tolist()) for epoch in range(20)]
    assert all(epoch[:4] == [0, 1, 2, 3] and len(set(epoch)) == 8 for epoch in epochs)
    assert set().union(*epochs) == set(range(16))
    assert epochs[0] == sorted(np.concatenate(list(batches.of_epoch(0))).tolist())


def test_a_smaller_dataset_than_the_share_is_used_whole(start, earlier, tmp_path, caplog):
    new = stored(tmp_path / "new.h5", labelled(SALT, 4))
    config = asking(start, earlier, replay={"share": 0.9})
    assert replay_of(config, new, start_of(config, new), seed=1).each_epoch == 12
    assert "their share of an epoch is 0.75 instead of 0.9" in caplog.text
    caplog.clear()
    replay_of(asking(start, earlier), new, start_of(config, new), seed=1)
    assert "their share" not in caplog.text


def test_a_file_without_a_split_is_replayed_whole(start, tmp_path):
    new = stored(tmp_path / "new.h5", labelled(SALT, 4))
    write_part(tmp_path / "part.h5", labelled(COPPER, 3), labelled=True)
    merge([tmp_path / "part.h5"], tmp_path / "mine.h5", attributes={"teacher": {"name": "given"}})
    config = asking(start, Dataset(tmp_path / "mine.h5"))
    job = TrainJob.on(new, StudentConfig(**TINY), config, tmp_path / "out", seed=1, start=start_of(config, new))
    assert job.replay.each_epoch == 3
    assert held_out_of(job.replay, job.start.architecture) is None


def test_no_composition_of_a_held_out_structure_is_replayed(start, tmp_path):
    doubled = COPPER.with_(
        positions=np.concatenate([COPPER.positions, COPPER.positions + COPPER.cell[0]]),
        atomic_numbers=np.tile(COPPER.atomic_numbers, 2),
        cell=COPPER.cell * [[2], [1], [1]],
    )
    new = stored(tmp_path / "new.h5", [*labelled(SALT, 2), *labelled(COPPER, 1)], held_out=1)
    both = stored(tmp_path / "both.h5", [*labelled(doubled, 2), *labelled(BROMIDE, 3), *labelled(SALT, 1)])
    architecture = random_student(KNOWN).model.architecture
    config = asking(start, both)
    assert replayed_rows(config.replay, new, architecture).tolist() == [2, 3, 4, 5]
    others = random_student((3, 11, 17, 29)).model.architecture
    assert replayed_rows(config.replay, new, others).tolist() == [5]
    told = r"none of the 6 .*: 4 have an element that train\.start does not know and 2 are held out"
    with pytest.raises(InputError, match=told):
        replayed_rows(config.replay, new, random_student((29,)).model.architecture)


def test_runs_of_one_composition_replay_each_other_but_for_the_same_structures(start, tmp_path):
    frames = labelled(COPPER, 5)
    new = stored(tmp_path / "new.h5", frames[:4], held_out=1)
    earlier = stored(tmp_path / "earlier.h5", [frames[3], frames[4], *labelled(SALT, 1)])
    architecture = random_student(KNOWN).model.architecture
    held_out = new[int(new.split("test")[0])]
    np.testing.assert_allclose(held_out.positions, frames[3].positions)
    assert replayed_rows(asking(start, earlier).replay, new, architecture).tolist() == [1, 2]


def test_earlier_energies_get_the_zero_of_another_teacher(start, tmp_path):
    new = stored(tmp_path / "new.h5", labelled(SALT, 5, zero=-300.0), teacher="another")
    earlier = stored(tmp_path / "earlier.h5", [*labelled(SALT, 6), *labelled(COPPER, 3)])
    config = asking(start, earlier)
    student = start_of(config, new)
    assert student.architecture.atomic_numbers == (11, 17, 29)
    found = replay_of(config, new, student, seed=1).records.gather(np.arange(9))
    before = earlier.gather(np.arange(9)).energy
    assert found.energy[:6] - before[:6] == pytest.approx(np.full(6, -300.0 * len(SALT)), abs=2.0)
    assert found.energy[6:] == pytest.approx(before[6:])  # the new data have no copper, whose zero stays


def test_the_same_teacher_needs_no_other_zero(start, earlier, tmp_path):
    new = stored(tmp_path / "new.h5", labelled(SALT, 5))
    config = asking(start, earlier)
    student = start_of(config, new)
    known = random_student(KNOWN, seed=5).model.reference_energies
    assert student.architecture.atomic_numbers == KNOWN
    assert student.reference_energies.tolist() == known.tolist()
    assert not replay_of(config, new, student, seed=1).shift.any()
    given = stored(tmp_path / "given.h5", labelled(SALT, 5, zero=-300.0), teacher="given")
    assert start_of(config, given).reference_energies[1] < -200.0  # labels from files may be of any teacher


@pytest.mark.parametrize(
    ("teachers", "zeros"),
    [
        (("mine", "mine"), (-300.0, -300.0)),  # one teacher, which is not that of the start
        (("given", "given"), (-300.0, -300.0)),  # the user's own labels of one method
        (("given", "hidden"), (-300.0, 0.0)),  # the earlier data are those of the start
        (("given", "mine"), (-300.0, 70.0)),  # three zeros
        (("hidden", "given"), (0.0, -300.0)),
    ],
)
def test_start_and_earlier_energies_get_the_zero_of_the_new_ones(start, tmp_path, teachers, zeros):
    """Hold what each replayed structure is trained on against the zero of the new labels, and the student against both."""
    own, other = zeros
    new = stored(tmp_path / "new.h5", [*labelled(SALT, 6, own), *labelled(COPPER, 6, own)], teacher=teachers[0])
    replayed = [
        *labelled(SALT, 5, zeros[1], seed=8),
        *labelled(COPPER, 5, zeros[1], seed=8),
        *labelled(BROMIDE, 6, zeros[1]),
    ]
    earlier = stored(tmp_path / "earlier.h5", replayed, teacher=teachers[1])
    config = asking(start, earlier)
    student = start_of(config, new)
    replay = replay_of(config, new, student, seed=1)
    assert replay.shift[[11, 17, 29]] == pytest.approx(np.full(3, own - other), abs=2.0)
    assert not replay.shift[[3, 35]].any()  # only the earlier data have these, with their own zero
    records = replay.records.gather(np.arange(len(replayed)))
    gaps = (predicted_energies(student, records) - records.energy) / np.diff(records.ptr)
    assert np.abs(gaps).max() < 3.0  # errors of a student with random weights, in eV/atom
    ours = new.gather(np.arange(12))
    assert np.abs((predicted_energies(student, ours) - ours.energy) / np.diff(ours.ptr)).max() < 3.0


def test_an_element_that_the_start_lacks_gets_the_zero_of_its_teacher(tmp_path, earlier):
    few = (3, 29, 35)
    save_student(random_student(few, seed=5).model, tmp_path / "few", {"teacher": {"name": "hidden"}})
    new = stored(tmp_path / "new.h5", labelled(SALT, 6, -300.0))
    config = asking(tmp_path / "few", earlier)
    student = start_of(config, new)
    energies = dict(zip(student.architecture.atomic_numbers, student.reference_energies.tolist(), strict=True))
    before = dict(zip(few, random_student(few, seed=5).model.reference_energies.tolist(), strict=True))
    assert {z: energies[z] for z in few} == before
    assert energies[11] + energies[17] < -500.0


def test_a_student_with_replay_keeps_what_it_knew(earlier, tmp_path):
    def trained(config) -> float:
        job = TrainJob.on(new, StudentConfig(**TINY), config, tmp_path / "out", seed=1, start=start_of(config, new))
        student = train_student(job)
        records = earlier.gather(np.arange(6))
        batch = LabelledStructures(records, student.architecture.cutoff_angstrom)[np.arange(6)]
        return float((student.predict(batch.inputs).forces - batch.forces).norm(dim=1).mean())

    knowing = tmp_path / "knowing"
    save_student(random_student(KNOWN, seed=7).model, knowing, {})  # has no error on the earlier structures
    other = [*labelled(SALT, 8, seed=11), *labelled(COPPER, 1, seed=11)]  # labels of another level of theory
    new = stored(tmp_path / "new.h5", other, teacher="another")
    options = {"epochs": 30, "learning_rate": 5e-3}
    kept = trained(asking(knowing, earlier, **options))
    forgotten = trained(asking(knowing, earlier, **options).model_copy(update={"replay": None}))
    assert kept < 0.5 * forgotten


def test_the_config_of_the_student_tells_what_was_forgotten(start, tmp_path):
    earlier = stored(tmp_path / "earlier.h5", [*labelled(BROMIDE, 4), *labelled(COPPER, 6)], held_out=2)
    new = stored(tmp_path / "new.h5", labelled(SALT, 4))
    config = asking(start, earlier)
    job = TrainJob.on(new, StudentConfig(**TINY), config, tmp_path / "out", seed=1, start=start_of(config, new))
    found = json.loads((train(job) / "config.json").read_text(encoding="utf-8"))["replay"]
    assert found["structures"] == 8
    assert found["held_out"] == 2
    assert found["forces_before"] != found["forces_after"]
    student = random_student(KNOWN, seed=5).label(test := [earlier[8], earlier[9]])
    gaps = [np.linalg.norm(a.forces - s.labels.forces, axis=1) for a, s in zip(student, test, strict=True)]
    assert found["forces_before"] == pytest.approx(np.mean(gaps), rel=1e-3)
    energies = [abs(a.energy - s.labels.energy) / len(s) for a, s in zip(student, test, strict=True)]
    assert found["energy_before"] == pytest.approx(np.mean(energies), rel=1e-3)
    assert found["energy_after"] != found["energy_before"]


def test_weights_of_sources_count_for_both(start, earlier, tmp_path):
    new = stored(tmp_path / "new.h5", labelled(SALT, 4))
    config = asking(start, earlier, source_weights={"salt": 2.0, "metal": 0.5})
    job = TrainJob.on(new, StudentConfig(**TINY), config, tmp_path / "out", seed=1, start=start_of(config, new))
    assert job.weights.tolist() == [2.0] * 4 + [0.5] * 6 + [1.0] * 6


def test_the_origin_names_the_earlier_data(start, earlier, tmp_path):
    new = stored(tmp_path / "new.h5", labelled(SALT, 4))

    def origin(config):
        return TrainJob.on(new, StudentConfig(**TINY), config, tmp_path, seed=1, start=start_of(config, new)).made_from()

    config = asking(start, earlier)
    moved = earlier.path.rename(tmp_path / "moved.h5")
    assert origin(asking(start, Dataset(moved))) == origin(asking(start, Dataset(moved)))
    other = stored(tmp_path / "other.h5", labelled(COPPER, 5))
    assert origin(asking(start, other)) != origin(asking(start, Dataset(moved)))
    assert origin(asking(start, other, replay={"share": 0.2})) != origin(asking(start, other))
    assert "replay" not in origin(config.model_copy(update={"replay": None}))


def test_another_process_gets_the_same_training(start, earlier, tmp_path):
    new = stored(tmp_path / "new.h5", labelled(SALT, 4, zero=-30.0), teacher="another")
    config = asking(start, earlier, processes=2)
    job = TrainJob.on(new, StudentConfig(**TINY), config, tmp_path / "out", seed=1, start=start_of(config, new))
    again = TrainJob.from_json(job.for_other_ranks())
    assert again.made_from() == job.made_from()
    every = np.arange(len(job.records))
    assert again.records.gather(every).energy.tolist() == job.records.gather(every).energy.tolist()


def test_a_missing_column_names_the_dataset_that_lacks_it(start, earlier, tmp_path):
    with_local = [s.with_(labels=replace(s.labels, extra={"local_energies": np.zeros(len(s))})) for s in labelled(SALT, 4)]
    new = stored(tmp_path / "new.h5", with_local)
    config = asking(start, earlier, local_energies_weight=1.0)
    job = TrainJob.on(new, StudentConfig(**TINY), config, tmp_path / "out", seed=1, start=start_of(config, new))
    with pytest.raises(InputError, match=r"the dataset of train\.replay has no local_energies"):
        train_student(job)


def test_replay_without_a_start_is_a_fault_of_the_config(earlier):
    with pytest.raises(InputError, match=r"train\.replay needs train\.start, which is empty"):
        parse_config({**SOURCES, "train": {"replay": {"dataset": str(earlier.path)}}})


@pytest.mark.usefixtures("start")
def test_a_run_folder_stands_for_its_dataset(tmp_path):
    (tmp_path / "run").mkdir()
    stored(tmp_path / "run" / "dataset.h5", labelled(COPPER, 2))
    options = {**SOURCES, "train": {"start": "start", "replay": {"dataset": "run", "share": 0.25}}}
    config = parse_config(options, folder=tmp_path)
    assert config.train.replay.dataset == tmp_path / "run" / "dataset.h5"
    assert parse_config(yaml.safe_load(dump_config(config)), folder=tmp_path) == config


def test_a_dataset_that_cannot_be_replayed_is_told_before_anything_is_made(start, tmp_path):
    write_part(tmp_path / "bare.h5", [SALT], labelled=False)
    merge([tmp_path / "bare.h5"], tmp_path / "structures.h5", attributes={"seed": 1})
    (tmp_path / "text.h5").write_text("no dataset", encoding="utf-8")
    for name, fault in (("structures.h5", "holds no labels"), ("text.h5", "text.h5")):
        options = {"label": {"teacher": {"name": "emt"}}, "train": {"start": str(start), "replay": {"dataset": name}}}
        (found,) = missing_pieces(parse_config({**SOURCES, **options}, folder=tmp_path), made=True)
        assert found.startswith("train.replay: ")
        assert fault in found


def test_a_replay_that_must_fail_after_the_labels_is_told_before_them(start, earlier, tmp_path):
    def told(**train) -> str:
        label = {"teacher": {"name": "emt"}, "extra": ["local_energies"]}
        options = {"label": label, "train": {"replay": {"dataset": str(earlier.path)}, **train}}
        (found,) = missing_pieces(parse_config({**SOURCES, **options}, folder=tmp_path), made=True)
        return found

    save_student(random_student((8, 14)).model, tmp_path / "other", {})
    assert "12 have an element that train.start does not know" in told(start=str(tmp_path / "other"))
    assert "has no local_energies" in told(start=str(start), local_energies_weight=1.0)


def test_a_run_goes_on_after_its_earlier_data_are_gone(start, earlier, tmp_path):
    options = {"label": {"teacher": {"name": "emt"}}, "train": {"start": str(start), "replay": {"dataset": "earlier.h5"}}}
    config = parse_config({**SOURCES, **options}, folder=tmp_path)
    earlier.path.unlink()
    assert missing_pieces(config, made=True) == []


def test_records_of_two_sources_keep_the_order_that_is_asked():
    first, second = Records.of(labelled(SALT, 3)), Records.of(labelled(COPPER, 2))
    joined = Joined(first, second)
    found = joined.gather(np.array([4, 0, 3, 2]))
    assert np.diff(found.ptr).tolist() == [4, 8, 4, 8]
    assert found.energy.tolist() == [second.energy[1], first.energy[0], second.energy[0], first.energy[2]]
    assert found.positions[4:12].tolist() == first.positions[:8].tolist()
    assert len(joined.gather(np.array([1]))) == 1


def test_shifted_records_move_local_energies_with_the_total():
    shift = np.zeros(119)
    shift[[11, 17]] = 2.0, -0.5
    source = Records.of([s.with_(labels=replace(s.labels, extra={"local_energies": np.ones(8)})) for s in labelled(SALT, 2)])
    found = Shifted(source, shift).gather(np.array([1]))
    assert found.energy[0] == pytest.approx(source.energy[1] + 4 * 2.0 - 4 * 0.5)
    assert sorted(set(found.extra["local_energies"].tolist())) == [0.5, 3.0]
