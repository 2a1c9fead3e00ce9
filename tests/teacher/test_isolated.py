"""Teachers in a process of another interpreter: here the same one, started by a script as an environment's would be.

How its faults go through the stage is in ``test_faults``, for both kinds of process.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from potstill.config import parse_config
from potstill.core.errors import InputError, PotstillError
from potstill.core.types import Labels, Refused
from potstill.teacher import load_teacher
from potstill.teacher.classical import EMT, LennardJones
from potstill.teacher.mace import MACE
from potstill.teacher.messages import BrokenMessageError, pack_answers, receive, send, unpack_answers
from potstill.testing import check_teacher, copper, rattled, slab, triclinic, water


@pytest.fixture(scope="module")
def emt(interpreter):
    teacher = load_teacher("emt", environment=interpreter)
    yield teacher
    teacher.close()


def group_of(teacher) -> int:
    return teacher._process._process.pid


def gone(process: int) -> bool:
    deadline = time.monotonic() + 10.0
    while time.monotonic() < deadline:
        if not psutil.pid_exists(process) or psutil.Process(process).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_the_kit(emt):
    assert group_of(emt) != os.getpid()
    check_teacher(emt, [rattled(copper()), rattled(water()), rattled(slab())])


def test_the_same_answers_as_in_this_process(emt):
    here = EMT().load()
    assert (emt.fingerprint, emt.elements, emt.properties) == (here.fingerprint, here.elements, here.properties)
    structures = [rattled(copper()), triclinic(), water()]
    for near, far in zip(here.label(structures), emt.label(structures), strict=True):
        if isinstance(near, Refused):
            assert near == far
            continue
        assert near.energy == pytest.approx(far.energy, abs=1e-12)
        np.testing.assert_allclose(near.forces, far.forces, atol=1e-12)
        assert (near.stress is None) == (far.stress is None)
        assert near.stress is None or np.allclose(near.stress, far.stress, atol=1e-12)
    assert emt.label([]) == []


def test_a_process_that_was_killed_is_started_again(emt):
    (before,) = emt.label([copper()])
    process = group_of(emt)
    os.killpg(process, signal.SIGKILL)
    (after,) = emt.label([copper()])
    assert group_of(emt) != process
    assert after.energy == pytest.approx(before.energy, abs=1e-12)  # a used calculator of ASE rounds otherwise


def test_it_ends_with_its_parent_and_with_its_teacher(interpreter):
    code = (
        "import sys\nfrom potstill.teacher import load_teacher\n"
        f"teacher = load_teacher('emt', environment={interpreter!r})\n"
        "print(teacher._process._process.pid, teacher._process._sentry.pid, flush=True)\nsys.stdin.read()"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    processes = [int(word) for word in parent.stdout.readline().split()]
    assert len(processes) == 2
    parent.kill()
    parent.communicate()
    assert all(gone(process) for process in processes)
    teacher = load_teacher("emt", environment=interpreter)
    process = group_of(teacher)
    del teacher
    assert gone(process)


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ("missing", InputError, r"(?s)needs the package 'nonexistent_package'"),
        ("truncated", InputError, r"(?s)cannot be read from .*weights\.pt \(7 bytes\).*fetch them again"),
        ("killed", PotstillError, r"(?s)ended while it loaded the teacher: killed by SIGKILL\n.*interpreter is .*python"),
    ],
)
def test_a_teacher_that_cannot_be_loaded(faulty, tmp_path, interpreter, fault, error, message):
    (tmp_path / "weights.pt").write_bytes(b"PK\x03\x04cut")
    teacher = faulty.AtLoading(fault=fault, weights=str(tmp_path / "weights.pt"), environment=interpreter)
    with pytest.raises(error, match=message):
        teacher.open()


def test_where_there_is_no_interpreter(tmp_path, monkeypatch):
    monkeypatch.setenv("POTSTILL_HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"(?s)no interpreter at .*elsewhere.*known: mace, mattergen, moldiff"):
        LennardJones(environment=str(tmp_path / "elsewhere")).check()
    with pytest.raises(InputError, match=r"(?s)'lennard-jones' needs the environment 'mace'.*potstill setup mace"):
        LennardJones(environment="mace").open()
    (tmp_path / "text").write_text("no program")
    with pytest.raises(InputError, match="cannot be started"):
        LennardJones(environment=str(tmp_path / "text")).open()


def test_a_path_in_a_config_starts_at_its_folder(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    teacher = {"name": "emt", "environment": "bin/python"}
    config = {"generate": {"sources": [{"source": "benchmark", "count": 1}]}, "label": {"teacher": teacher}}
    found = parse_config(config, "config", tmp_path).label.teacher
    assert found.interpreter() == tmp_path / "bin" / "python"


def test_mace_moves_to_its_environment(tmp_path, monkeypatch, interpreter):
    monkeypatch.setenv("POTSTILL_HOME", str(tmp_path))
    monkeypatch.setattr(MACE, "lives_here", lambda self: False)
    with pytest.raises(InputError, match="potstill setup mace"):
        MACE(weights="some.model").check()
    python = tmp_path / "environments" / "mace" / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(interpreter)
    assert MACE().interpreter() == python
    with pytest.raises(InputError, match="needs its weights"):
        MACE().check()
    assert LennardJones().interpreter() is None


def test_a_message_that_is_cut_short_or_no_message():
    stream = io.BytesIO()
    send(stream, {"a": 1}, {"b": np.arange(3)})
    whole = stream.getvalue()
    message, arrays = receive(io.BytesIO(whole))
    assert message == {"a": 1}
    assert arrays["b"].tolist() == [0, 1, 2]
    for cut in (0, 15, 16, len(whole) - 1):
        with pytest.raises(EOFError):
            receive(io.BytesIO(whole[:cut]))
    with pytest.raises(BrokenMessageError):
        receive(io.BytesIO((5).to_bytes(8, "big") + (0).to_bytes(8, "big") + b"hello"))
    with pytest.raises(BrokenMessageError, match="found a message of"):
        receive(io.BytesIO(b"Loading the model, please wait"))
    with pytest.raises(BrokenMessageError):
        receive(io.BytesIO(whole.replace(b"<i8", b"|O8")))
    with pytest.raises(ValueError, match="evil: not made of numbers"):
        send(io.BytesIO(), {}, {"evil": np.array([object()])})


def test_answers_keep_every_bit():
    labels = Labels(-1.0 / 3.0, np.full((2, 3), 0.1, np.float32), None, {"local_energies": np.array([1.0, np.pi])})
    back, refused = unpack_answers(*pack_answers([labels, Refused("no_idea", "none")]))
    assert (back.energy, back.stress, refused) == (labels.energy, None, Refused("no_idea", "none"))
    assert back.forces.dtype == np.float32
    assert np.array_equal(back.forces, labels.forces)
    assert np.array_equal(back.extra["local_energies"], labels.extra["local_energies"])
