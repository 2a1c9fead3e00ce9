"""``kill -9`` at any moment never leaves a half file under its final name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from potstill.dataset import Dataset, merge, sealed

WRITER = """
import sys
from pathlib import Path
import numpy as np
from potstill.dataset import write_part
from potstill.types import Labels, Structure

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
