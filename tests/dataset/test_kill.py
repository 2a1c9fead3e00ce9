"""``kill -9`` at any moment never leaves a half file under its final name."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from potstill.core.files import sealed
from potstill.core.types import Labels, Refused, Structure
from potstill.dataset import Dataset, merge, write_part
from potstill.dataset.schema import datasets_of

WRITER = """
import sys
from pathlib import Path
import numpy as np
from potstill.dataset import write_part
from potstill.core.types import Labels, Structure

folder = Path(sys.argv[1])
structures = [
    Structure(np.full(200, 6), np.full((200, 3), k), id=f"{k}", labels=Labels(float(k), np.full((200, 3), k)))
    for k in range(100)
]
print("ready", flush=True)
for number in range(100_000):
    write_part(folder / f"{number:06d}.h5", structures, labelled=True)
"""


def test_every_part_of_a_killed_writer_is_whole(tmp_path: Path):
    rng = np.random.default_rng(11)
    for attempt in range(5):
        folder = tmp_path / str(attempt)
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        while not list(folder.glob("*.h5")):
            time.sleep(0.002)
        time.sleep(float(rng.uniform(0.0, 0.1)))
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        parts = sorted(folder.glob("*.h5"))
        assert parts
        for part in parts:
            dataset = Dataset(part)
            assert len(dataset) == 100
            assert (dataset.column("atoms/forces")[:, 0] == np.repeat(np.arange(100), 200)).all()
        merge(parts, folder / "all.h5", attributes={})
        assert Dataset(folder / "all.h5").verify() == []


def test_a_failure_while_writing_leaves_the_old_file(tmp_path: Path):
    target = tmp_path / "file"
    target.write_text("old")

    def fail() -> None:
        with sealed(target) as temporary:
            temporary.write_text("half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_final_name_appears_only_when_all_is_written(tmp_path: Path):
    target = tmp_path / "deep" / "file"
    with sealed(target) as temporary:
        temporary.write_text("half")
        assert not target.exists()
        assert temporary.parent == target.parent
        temporary.write_text("whole")
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


def structures_of(part: int) -> list[Structure]:
    """Structures with something different in every field."""
    rng = np.random.default_rng(part)
    made = []
    for k in range(20):
        n, periodic = int(rng.integers(1, 60)), bool(k % 2)
        stress = rng.normal(size=(3, 3)) if periodic else None
        labels = Labels(float(rng.normal()), rng.normal(size=(n, 3)), None if stress is None else stress + stress.T)
        made.append(
            Structure(
                rng.integers(1, 90, n),
                rng.normal(scale=9.0, size=(n, 3)),
                np.diag(rng.uniform(5, 9, 3)) if periodic else np.zeros((3, 3)),
                np.full(3, periodic),
                id=f"part{part}-{k}",
                source=f"Ω{part % 3}",
                family=f"F={k}\\",
                generator_metadata={"seed": part, "text": "ü" * k},
                labels=labels,
            )
        )
    return made


def write_all(folder: Path, parts: int) -> None:
    """What a run does: parts that are not there, then one file of all."""
    paths = [folder / f"{k:04d}.h5" for k in range(parts)]
    for k, path in enumerate(paths):
        if not path.exists():
            write_part(path, structures_of(k), [Refused("reason", "why", id=f"r{k}", source="s", stage="g")], labelled=True)
    merge(paths, folder / "dataset.h5", attributes={"seed": 1}, splits=np.arange(20 * parts, dtype=np.uint8) % 3)


def contents(path: Path) -> dict[str, bytes | list[str]]:
    """Every dataset of a file, byte by byte."""
    with h5py.File(path, "r") as file:
        found = dict(datasets_of(file))
        return {n: list(d.asstr()[:]) if d.dtype == object else d[:].tobytes() for n, d in found.items()}


def killed_while(work, *arguments, after: float) -> bool:
    """Run a function in a copy of this process and kill it after some time; whether it was still running."""
    child = os.fork()
    if child == 0:
        work(*arguments)
        os._exit(0)
    deadline = time.monotonic() + after
    while time.monotonic() < deadline:
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
        time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("kills", [10, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_kills_lose_nothing_double_nothing_and_change_nothing(tmp_path, kills):
    parts, rng = 8, np.random.default_rng(5)
    (tmp_path / "whole").mkdir()
    write_all(tmp_path / "whole", parts)
    expected = contents(tmp_path / "whole" / "dataset.h5")
    assert len(expected["structures/id"]) == 20 * parts
    done = attempt = 0
    while done < kills:
        folder = tmp_path / str(attempt)
        folder.mkdir()
        while killed_while(write_all, folder, parts, after=float(rng.exponential(0.03))):
            done += 1
            if (folder / "dataset.h5").exists():  # under its name it is whole, whenever it was killed
                assert contents(folder / "dataset.h5") == expected
        assert contents(folder / "dataset.h5") == expected
        assert Dataset(folder / "dataset.h5").verify() == []
        attempt += 1


FULL = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_kill import contents, write_all
small, whole = Path(sys.argv[2]), Path(sys.argv[3])
try:
    write_all(small, 8)
except OSError as error:
    print("full:", error, flush=True)
else:
    sys.exit("it fitted")
assert not [p for p in small.iterdir() if p.suffix == ".tmp"], list(small.iterdir())
import subprocess
subprocess.run(["mount", "-o", "remount,size=50m", str(small)], check=True)
write_all(small, 8)
assert contents(small / "dataset.h5") == contents(whole / "dataset.h5")
print("resumed", flush=True)
"""


@pytest.mark.parametrize("kilobytes", [100, 300, 500, 700])
def test_a_full_disk_is_a_clear_error_and_the_run_goes_on(tmp_path, kilobytes):
    small, whole = tmp_path / "small", tmp_path / "whole"
    small.mkdir()
    whole.mkdir()
    write_all(whole, 8)
    mount = f"mount -t tmpfs -o size={kilobytes}k none {small}"
    alone = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    if shutil.which("unshare") is None or subprocess.run([*alone, mount], capture_output=True, check=False).returncode:
        pytest.skip("no small disk can be made here")
    code = [sys.executable, "-c", FULL, str(Path(__file__).parent), str(small), str(whole)]
    ran = subprocess.run(
        [*alone, f'{mount} && exec "$@"', "sh", *code], capture_output=True, text=True, check=False, timeout=120
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.splitlines()[-1] == "resumed"
    assert "No space left" in ran.stdout
