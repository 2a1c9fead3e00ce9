"""Processes that train together: the student of one process, exact after a stop, no process left or waited for."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from potstill.core.errors import InputError, PotstillError
from potstill.dataset import Dataset, merge, write_part
from potstill.deploy import load_student
from potstill.student.options import StudentConfig
from potstill.train import stage
from potstill.train.device_data import DeviceStructures
from potstill.train.job import TrainJob
from potstill.train.losses import HessianTerm
from potstill.train.options import TrainConfig
from potstill.train.stage import initial_student, train

CPU = torch.device("cpu")


def stored(structures, folder: Path) -> Dataset:
    """Write a dataset with a split."""
    write_part(folder / "part.h5", structures, labelled=True)
    splits = np.array([0] * (len(structures) - 4) + [1, 1, 1, 2], np.uint8)
    merge([folder / "part.h5"], folder / "dataset.h5", attributes={"seed": 1}, splits=splits)
    return Dataset(folder / "dataset.h5")


@pytest.fixture
def dataset(labelled, tmp_path) -> Dataset:
    return stored(labelled, tmp_path)


@pytest.fixture
def two() -> TrainConfig:
    """Batches of one to three structures: the second process has nothing to do where there is one."""
    return TrainConfig(epochs=2, batch_structures=3, batch_atoms=12, learning_rate=1e-3, processes=2)


def trained(dataset: Dataset, tiny: StudentConfig, config: TrainConfig, folder: Path, on_epoch=None) -> list[dict]:
    reports: list[dict] = []

    def report(epoch: int, errors: dict[str, float]) -> None:
        reports.append(errors)
        if on_epoch is not None:
            on_epoch(epoch)

    train(TrainJob.on(dataset, tiny, config, folder, seed=1), on_epoch=report)
    return reports


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_student(folder).model.state_dict()


def left() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "potstill.train.rank" in child.cmdline()]


@pytest.fixture
def with_products(labelled, tmp_path) -> Dataset:
    """Structures with directions and products, not those of a teacher; some have a stress."""
    rng = np.random.default_rng(4)
    rows = [{name: rng.normal(size=(len(s), 3)) for name in HessianTerm.columns} for s in labelled]
    given = [
        s.with_(labels=replace(s.labels, stress=None if k % 3 else s.labels.stress, extra=columns))
        for k, (s, columns) in enumerate(zip(labelled, rows, strict=True))
    ]
    return stored(given, tmp_path)


def test_two_processes_learn_what_one_learns(dataset, tiny, two, tmp_path):
    together = trained(dataset, tiny, two, tmp_path / "two")
    alone = trained(dataset, tiny, two.model_copy(update={"processes": 1}), tmp_path / "one")
    a, b = weights(tmp_path / "two"), weights(tmp_path / "one")
    for name, tensor in a.items():  # AdamW takes steps of 1e-3 however small a gradient: 6 % of one
        torch.testing.assert_close(tensor, b[name], rtol=1e-3, atol=6e-5, msg=lambda text, name=name: f"{name}: {text}")
    for one, other in zip(alone, together, strict=True):
        assert one.keys() == other.keys()
        assert all(other[name] == pytest.approx(one[name], rel=1e-3, abs=1e-6) for name in one)
    assert {p.name for p in (tmp_path / "two").iterdir()} == {p.name for p in (tmp_path / "one").iterdir()}
    assert [p.name for p in (tmp_path / "two" / "checkpoints").iterdir()] == ["last.ckpt"]
    told = json.loads((tmp_path / "two" / "config.json").read_text(encoding="utf-8"))
    assert told["epochs"] == two.epochs
    assert left() == []


ON_A_DEVICE = """
import torch
from potstill.train import rank, stage
from potstill.train.device_data import DeviceStructures
stage.device_structures = lambda config, kinds, data, student: DeviceStructures(data, student, torch.device("cpu"), {extra})
rank.main()
"""


def compare(together, alone, tmp_path, before):
    """Compare reports and weights, these by how far the training moved them."""
    found, expected = weights(tmp_path / "two"), weights(tmp_path / "one")
    for name, tensor in found.items():
        moved = float((expected[name] - before[name]).norm())
        assert float((tensor - expected[name]).norm()) <= 0.03 * moved, name
    for one, other in zip(alone, together, strict=True):
        assert one.keys() == other.keys()
        assert all(other[name] == pytest.approx(one[name], rel=2e-3, abs=1e-6) for name in one)


@pytest.mark.parametrize("fraction", [0.3, 1.0])
def test_two_processes_compare_the_hessians_that_one_compares(with_products, tiny, two, tmp_path, fraction):
    """Each took its share of its own part: of four structures two were compared in place of one."""
    config = two.model_copy(update={"hessian_weight": 0.1, "hessian_fraction": fraction})
    together = trained(with_products, tiny, config, tmp_path / "two")
    alone = trained(with_products, tiny, config.model_copy(update={"processes": 1}), tmp_path / "one")
    before = initial_student(TrainJob.on(with_products, tiny, config, tmp_path, seed=1)).state_dict()
    compare(together, alone, tmp_path, before)


@pytest.mark.parametrize("fraction", [0.3, 1.0])
def test_two_processes_with_data_on_a_device_learn_what_one_learns(
    with_products, tiny, two, tmp_path, monkeypatch, fraction
):
    """The operations of a CUDA graph, one by one on a CPU, in both processes; other code in the one process."""
    dataset, extra = with_products, HessianTerm.columns
    config = two.model_copy(update={"hessian_weight": 0.1, "hessian_fraction": fraction})
    (tmp_path / "rank.py").write_text(ON_A_DEVICE.format(extra=extra), encoding="utf-8")
    start = tmp_path / "start.sh"  # in the place of python -m potstill.train.rank
    start.write_text(f'#!/bin/sh\nshift 2\nexec {sys.executable} {tmp_path / "rank.py"} "$@"\n', encoding="utf-8")
    start.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(start))
        patch.setattr(stage, "device_structures", lambda _, __, data, student: DeviceStructures(data, student, CPU, extra))
        together = trained(dataset, tiny, config, tmp_path / "two")
    alone = trained(dataset, tiny, config.model_copy(update={"processes": 1}), tmp_path / "one")
    before = initial_student(TrainJob.on(dataset, tiny, config, tmp_path, seed=1)).state_dict()
    compare(together, alone, tmp_path, before)


SRUN = """#!/bin/sh
echo "$@" >> {log}
while [ "${{1#--}}" != "$1" ]; do shift; done
exec "$@"
"""


def test_another_node_trains_along_by_srun(dataset, tiny, two, tmp_path, monkeypatch):
    """An ``srun`` that starts the process here, as that of a job would on its second node."""
    (tmp_path / "bin").mkdir()
    srun = tmp_path / "bin" / "srun"
    srun.write_text(SRUN.format(log=tmp_path / "srun.log"), encoding="utf-8")
    srun.chmod(0o755)
    monkeypatch.setenv("PATH", f"{srun.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "2")
    monkeypatch.setenv("SLURMD_NODENAME", "localhost")
    nodes = trained(dataset, tiny, two.model_copy(update={"processes": 1, "nodes": 2}), tmp_path / "two")
    alone = trained(dataset, tiny, two.model_copy(update={"processes": 1}), tmp_path / "one")
    assert nodes[-1]["train_forces"] == pytest.approx(alone[-1]["train_forces"], rel=1e-3)
    (started,) = (tmp_path / "srun.log").read_text(encoding="utf-8").splitlines()
    assert started.startswith("--overlap --nodes=1 --ntasks=1 --relative=1 ")
    assert "potstill.train.rank localhost" in started
    assert left() == []


def test_more_nodes_than_the_job_has_are_refused(dataset, tiny, two, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "1")
    with pytest.raises(InputError, match=r"train\.nodes is 2, but .*\n  submit it with  sbatch --nodes=2"):
        trained(dataset, tiny, two.model_copy(update={"nodes": 2}), tmp_path / "student")


class StopError(Exception):
    """Stands for whatever stops a run."""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_stopped_and_resumed_two_processes_end_with_the_same_weights(dataset, tiny, two, tmp_path):
    config = two.model_copy(update={"learning_rate": "auto", "checkpoint_minutes": 0.0, "patience_epochs": 5})

    def stop(_: int) -> None:
        raise StopError

    with pytest.raises(StopError):
        trained(dataset, tiny, config, tmp_path / "cut", stop)
    assert left() == []
    trained(dataset, tiny, config, tmp_path / "cut")
    trained(dataset, tiny, config, tmp_path / "whole")
    a, b = weights(tmp_path / "cut"), weights(tmp_path / "whole")
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_first_does_not_wait_for_a_dead_process(dataset, tiny, two, tmp_path):
    def kill(_: int) -> None:
        for child in left():
            child.kill()

    with pytest.raises(PotstillError, match="another training process has ended"):
        trained(dataset, tiny, two, tmp_path / "student", kill)
    assert left() == []
