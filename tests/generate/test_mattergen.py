"""MatterGen is called as its command line asks, its files are read, and none of its faults costs more than a batch."""

from __future__ import annotations

import fcntl
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

import ase.build
import ase.io
import numpy as np
import psutil
import pytest

from potstill.config import Config
from potstill.core.errors import InputError
from potstill.core.types import Refused, Structure
from potstill.dataset import open_dataset
from potstill.generate.files import Files
from potstill.generate.filter import FilterOptions
from potstill.generate.mattergen import MatterGen, read_crystals, visible_devices
from potstill.generate.mix import SourceFailedError
from potstill.generate.options import GenerateConfig
from potstill.generate.perturb import Perturb
from potstill.generate.stage import generate
from potstill.run import probe
from potstill.testing import check_source

RECORDED = Path(__file__).parent / "data" / "mattergen" / "generated_crystals.extxyz"


@pytest.fixture
def make(mattergen_checkout):
    def source(fault: str = "none", **options) -> MatterGen:
        checkout = mattergen_checkout.fault(fault)
        given = {"python": sys.executable, "repository": checkout.path, "model_path": checkout.weights, "batch_size": 4}
        return MatterGen(count=8, **{**given, **options})

    return source


def reasons(answers) -> list[str]:
    return [a.reason if isinstance(a, Refused) else "" for a in answers]


def test_it_keeps_the_contract_of_a_source(make):
    check_source(make(batch_size=3), count=6)


def test_another_seed_and_another_batch_give_other_crystals(make):
    source = make(batch_size=2)
    first, second, third = (
        source.propose([index], seed, ())[0].positions[0].tolist() for index, seed in ((0, 1), (0, 2), (2, 1))
    )
    assert first != second
    assert first != third


def test_command_line(make, mattergen_checkout):
    source = make(
        properties={"chemical_system": "Li-O", "energy_above_hull": 0.05},
        guidance_factor=1.5,
        sampling_config_overrides=("sampler_partial.N=50",),
        config_overrides=("a.b=1", "c=2"),
        device="cpu",
    )
    (answer,) = source.propose([1], 3, ())
    (call,) = mattergen_checkout.calls
    assert call["model_path"] == str(mattergen_checkout.weights)
    assert (call["batch_size"], call["num_batches"], call["record_trajectories"]) == (4, 1, False)
    assert call["properties_to_condition_on"] == {"chemical_system": "Li-O", "energy_above_hull": 0.05}
    assert call["diffusion_guidance_factor"] == 1.5
    assert call["sampling_config_overrides"] == ["sampler_partial.N=50"]
    assert call["config_overrides"] == ["a.b=1", "c=2"]
    assert (call["CUDA_VISIBLE_DEVICES"], call["HF_HUB_OFFLINE"]) == ("", "1")
    assert not Path(call["output_path"]).exists()
    assert not Path(call["TMPDIR"]).exists()
    assert answer.generator_metadata["properties"] == source.properties
    assert answer.generator_metadata["model"] == mattergen_checkout.weights.name


def test_without_wishes_none_is_handed_on(make, mattergen_checkout):
    make().propose([0], 3, ())
    (call,) = mattergen_checkout.calls
    assert not {"properties_to_condition_on", "diffusion_guidance_factor", "config_overrides", "pretrained_name"} & set(call)


def test_a_batch_is_run_once_for_all_its_candidates(make, mattergen_checkout):
    source = make()
    together = source.propose(range(8), 1, ())
    assert len(mattergen_checkout.calls) == 2
    assert len({a.positions.tobytes() for a in together}) == 8
    assert (source.candidates_per_task, source.exclusive) == (4, True)


def test_number_of_atoms(make):
    sizes = {len(a) for a in make(batch_size=60, min_atoms=3, max_atoms=5).propose(range(60), 1, ())}
    assert sizes == {3, 4, 5}


def test_elements_outside_the_config_are_refused(make):
    answers = make(elements=("Na", "K"), max_atoms=2, batch_size=30).propose(range(30), 1, ())
    assert set(reasons(answers)) == {"", "element_not_allowed"}
    assert {int(z) for a in answers if isinstance(a, Structure) for z in a.atomic_numbers} == {11}


def test_positions_are_brought_into_the_cell(make):
    for crystal in make().propose(range(4), 1, ()):
        scaled = crystal.positions @ np.linalg.inv(crystal.cell)
        assert scaled.min() > -1e-9
        assert scaled.max() < 1 + 1e-9


def test_an_undecided_element_is_refused(make):
    assert reasons(make("mask").propose(range(4), 1, ())) == ["mask_token"] * 4


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("crash", ["program_crashed"] * 4),
        ("not saved", ["program_no_output"] * 4),
        ("never", ["program_out_of_memory"] * 4),
        ("fewer", [""] * 3 + ["program_gave_fewer"]),
        ("more", [""] * 4),
        ("half", [""] * 3 + ["program_output_broken"]),
        ("bad exit", [""] * 4),
        ("memory", [""] * 4),
    ],
)
def test_a_fault_costs_what_is_missing(make, fault, expected):
    answers = make(fault).propose(range(4), 1, ())
    assert reasons(answers) == expected
    for refusal in (a for a in answers if isinstance(a, Refused)):
        assert "log: mattergen-000000.log" in refusal.detail


def test_what_memory_does_not_suffice_for_is_made_in_halves(make, mattergen_checkout):
    answers = make("memory", batch_size=7).propose(range(7), 1, ())
    assert [c["batch_size"] for c in mattergen_checkout.calls] == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    assert len({a.positions.tobytes() for a in answers}) == 7


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_hang_ends_with_its_children(make, mattergen_checkout):
    answers = make("hang", timeout_minutes=1.5 / 60).propose(range(4), 1, ())
    assert reasons(answers) == ["program_timeout"] * 4
    pids = {int(pid) for pid in (mattergen_checkout.path / "pids.txt").read_text().split()}
    patience = time.monotonic() + 20  # a killed process is there until the kernel has cleaned up
    while pids and time.monotonic() < patience:
        pids = {pid for pid in pids if lives(pid)}
    assert not pids


def test_two_runs_on_one_machine_follow_each_other(make, mattergen_checkout):
    source = make()
    with (Path(tempfile.gettempdir()) / "potstill-mattergen.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        run = threading.Thread(target=source.propose, args=([0], 1, ()))
        run.start()
        run.join(0.5)
        assert run.is_alive()
        assert mattergen_checkout.calls == []
    run.join(60)
    assert len(mattergen_checkout.calls) == 1


def test_the_plan_times_one_batch(make, mattergen_checkout):
    generate_config = GenerateConfig(sources=(make(min_atoms=4),), filter=FilterOptions(min_scaled_distance=0.1))
    structures, cost = probe._probe_generate(Config(generate=generate_config), workers=1)
    assert len(structures) == 4
    assert [call["batch_size"] for call in mattergen_checkout.calls] == [4]
    assert cost.seconds > 0


def test_the_run_goes_on_and_keeps_the_logs(make, tmp_path):
    config = GenerateConfig(sources=(make("fewer", min_atoms=4),), filter=FilterOptions(min_scaled_distance=0.1))
    (count,) = generate(config, tmp_path / "structures", seed=1, workers=2)
    assert count.accepted == 8
    assert count.refused == {"program_gave_fewer": 3}  # batches are made one by one
    log = (tmp_path / "structures" / "logs" / "mattergen-000000.log").read_text()
    assert "--batch_size=4" in log
    assert "Generating samples: 100%" in log
    assert len(open_dataset(tmp_path / "structures" / "structures.h5")) == 8


def test_a_program_that_always_fails_is_given_up(make, mattergen_checkout, tmp_path):
    ase.io.write(tmp_path / "salt.extxyz", ase.build.bulk("NaCl", "rocksalt", a=5.6))
    files, copies = Files(count=1, paths=(tmp_path / "salt.extxyz",)), Perturb(count=4)
    config = GenerateConfig(sources=(files, make("crash", batch_size=16), copies))
    with pytest.raises(SourceFailedError, match=r"0 of its first 64 candidates (.*)\(64 program_crashed\)"):
        generate(config, tmp_path / "structures", seed=1, workers=2)
    counts = generate(config, tmp_path / "structures", seed=1, workers=1, fallback=True)
    assert {count.name: count.accepted for count in counts} == {"files": 1, "perturb": 12}
    assert len(mattergen_checkout.calls) == 4  # the second time from what is there


def test_the_stage_does_not_begin_without_its_environment(make, tmp_path):
    config = GenerateConfig(sources=(make(python=None),))
    with pytest.raises(InputError, match=r"no interpreter at (.|\n)*potstill setup mattergen"):
        generate(config, tmp_path / "structures", seed=1, workers=1)
    assert not (tmp_path / "structures").exists()


class TestRecordedOutput:
    def test_every_frame(self):
        answers, broken = read_crystals(RECORDED)
        assert broken == ""
        frames = ase.io.read(RECORDED, index=":")
        assert len(answers) == len(frames) == 8
        for found, expected in zip(answers, frames, strict=True):
            expected.wrap()
            np.testing.assert_array_equal(found.atomic_numbers, expected.numbers)
            np.testing.assert_allclose(found.positions, expected.positions, atol=1e-6)
        assert answers[0].formula == "FOScTe2"
        assert all(a.pbc.all() for a in answers)
        assert answers[3].generator_metadata == {"frame": 3}

    def test_broken_off_anywhere(self, tmp_path):
        text = RECORDED.read_text()
        whole, _ = read_crystals(RECORDED)
        ends = np.cumsum([sum(map(len, part)) for part in _frames(text)])
        for cut in range(1, len(text), 37):
            (tmp_path / "cut.extxyz").write_text(text[:cut])
            answers, broken = read_crystals(tmp_path / "cut.extxyz")
            assert len(answers) == int((ends <= cut).sum())
            assert bool(broken) == (cut not in ends)
            for found, expected in zip(answers, whole, strict=False):
                np.testing.assert_array_equal(found.positions, expected.positions)

    def test_numbers_that_are_none(self, tmp_path):
        frames = ["".join(part) for part in _frames(RECORDED.read_text())]
        infinite = frames[0].replace("4.311392784118652", "inf")
        flat = frames[0].replace("4.197951793670654", "0.0")
        words = frames[0].replace("3.20888990", "oops")
        (tmp_path / "odd.extxyz").write_text(infinite + flat + words + frames[1])
        answers, broken = read_crystals(tmp_path / "odd.extxyz")
        assert reasons(answers) == ["not_a_structure", "not_a_structure", "program_output_broken", ""]
        assert broken == ""


def _frames(text: str) -> list[list[str]]:
    lines, frames = text.splitlines(keepends=True), []
    while lines:
        n = int(lines[0]) + 2
        frames.append(lines[:n])
        lines = lines[n:]
    return frames


class TestPreflight:
    def test_whole(self, make):
        assert make().missing() is None

    def test_environment(self, make):
        source = make(python=None)
        assert "potstill setup mattergen" in source.missing()
        with pytest.raises(InputError, match="potstill setup mattergen"):
            source.propose([0], 1, ())

    @pytest.mark.parametrize("name", ["sampling_conf/default.yaml", "mattergen/common/gemnet/gemnet-dT.json"])
    def test_the_wheel_is_no_checkout(self, make, mattergen_checkout, name):
        (mattergen_checkout.path / name).unlink()
        assert f"lacks {name}" in make().missing()
        assert "git clone https://github.com/microsoft/mattergen" in make().missing()

    def test_later_versions_moved_a_file(self, make, mattergen_checkout):
        moved = mattergen_checkout.path / "mattergen" / "sampling_conf"
        shutil.move(mattergen_checkout.path / "sampling_conf", moved)
        assert make().missing() is None

    def test_weights(self, make, mattergen_checkout):
        checkpoint = mattergen_checkout.weights / "checkpoints" / "last.ckpt"
        checkpoint.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 461370350\n")
        assert "git lfs pull" in make().missing()
        checkpoint.write_bytes(bytes(1000))
        assert "1000 bytes" in make().missing()
        checkpoint.unlink()
        assert "there is no checkpoints/last.ckpt" in make().missing()
        (mattergen_checkout.weights / "config.yaml").unlink()
        assert "there is no config.yaml" in make().missing()
        assert "--checkpoint dft_band_gap" in make(model_path=None, pretrained_name="dft_band_gap").missing()

    def test_options(self, make):
        with pytest.raises(ValueError, match="no name of a property"):
            make(properties={"a b": 1})
        with pytest.raises(ValueError, match="min_atoms"):
            make(min_atoms=9, max_atoms=8)
        with pytest.raises(ValueError, match="device"):
            make(device="gpu")


def test_devices(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert visible_devices("auto") == {}
    assert visible_devices("cpu") == {"CUDA_VISIBLE_DEVICES": ""}
    assert visible_devices("cuda:1") == {"CUDA_VISIBLE_DEVICES": "6"}
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_devices("cuda:1") == {"CUDA_VISIBLE_DEVICES": "1"}
