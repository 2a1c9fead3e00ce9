"""Section ``execute``: the examples are good, what cannot be is refused, and each scheduler gets its job script."""

from __future__ import annotations

from pathlib import Path

import pytest

from potstill.config import dump_config, load_config, parse_config
from potstill.core.errors import InputError
from potstill.execute import LocalExecutor
from potstill.execute.options import Parsl

EXAMPLES = Path(__file__).parents[2] / "examples"


def execute(**options):
    return parse_config({"generate": {"sources": [{"source": "benchmark", "count": 1}]}, "execute": options}).execute


@pytest.mark.parametrize(("name", "workers"), [("slurm_gpu", 8), ("workstation_4gpu", 4)])
def test_examples(name, workers, tmp_path):
    config = load_config(EXAMPLES / f"{name}.yaml")
    assert config.execute.start(tmp_path, config.workers).workers == workers
    (tmp_path / "again.yaml").write_text(dump_config(config))
    assert load_config(tmp_path / "again.yaml") == config


def test_the_default_is_this_machine(tmp_path):
    config = parse_config({"generate": {"sources": [{"source": "benchmark", "count": 1}]}, "workers": 3})
    executor = config.execute.start(tmp_path, config.workers)
    assert isinstance(executor, LocalExecutor)
    assert executor.workers == 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"executor": "parsi"}, "execute.executor: unknown name 'parsi'; did you mean 'parsl'"),
        ({"executor": "parsl", "walltim": "1"}, "execute.walltim: unknown option; did you mean 'walltime'"),
        ({"executor": "parsl", "walltime": "8h"}, "execute.walltime: found '8h'"),
        ({"executor": "parsl", "provider": "kubernetes"}, "execute: the provider kubernetes needs an 'image'"),
        (
            {"executor": "parsl", "accelerators": ["0"], "workers_per_node": 2},
            "execute: 2 workers_per_node for 1 accelerators",
        ),
        ({"executor": "local", "partition": "gpu"}, "execute.partition: unknown option"),
    ],
)
def test_faults(options, message):
    with pytest.raises(InputError) as caught:
        execute(**options)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("slurm", ["#SBATCH --gres=gpu:4", "--partition=gpu", "--account=me", "--time=120", "--nodes=2"]),
        ("pbs", ["walltime=02:00:00", "select=2:ncpus=1:ngpus=4", "#PBS -A me"]),
        ("lsf", ["#BSUB -W 120", "#BSUB -q gpu", "#BSUB -P me"]),
        ("gridengine", ["h_rt=02:00:00"]),
    ],
)
def test_the_job_script_says_what_the_config_says(name, expected, tmp_path, monkeypatch):
    pytest.importorskip("parsl")
    from potstill.execute.parsl import provider

    options = Parsl(
        provider=name,
        nodes_per_job=1 if name == "gridengine" else 2,
        walltime="02:00:00",
        partition="gpu",
        account="me",
        scheduler_options="#PBS -A me" if name == "pbs" else "#SBATCH --gres=gpu:4",
        select_options="ngpus=4",
        worker_init="module load python",
    )
    made = provider(options)
    made.script_dir = str(tmp_path)
    monkeypatch.setattr(made, "execute_wait", lambda command: (1, "", "no scheduler here"))
    try:
        made.submit("potstill-worker", 1)
    except Exception as error:  # noqa: BLE001 - there is no scheduler, the script is what counts
        assert "no scheduler here" in repr(error) or "exited" in repr(error) or "submi" in repr(error).lower()  # noqa: PT017
    (script,) = [p for p in tmp_path.iterdir() if p.suffix not in (".out", ".err")]
    text = script.read_text()
    for piece in [*expected, "module load python", "potstill-worker", "export PATH="]:
        assert piece in text, text
