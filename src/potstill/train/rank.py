"""A process that trains along: ``python -m potstill.train.rank HOST PORT RANK PROCESSES``, started by the first of them.

It reads the dataset itself, computes its part of each step, and writes nothing. It ends with the first process.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from torch import distributed

from potstill.execute.supervisor import end_with_parent


def main() -> None:
    """Train along, and end."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    from potstill.dataset import open_file
    from potstill.student.files import read_student
    from potstill.student.options import StudentConfig
    from potstill.train.distributed import join
    from potstill.train.options import TrainConfig
    from potstill.train.stage import train

    job = join(sys.argv[1], *map(int, sys.argv[2:5]))
    train(
        open_file(Path(job["dataset"])),
        StudentConfig.model_validate(job["student"]),
        TrainConfig.model_validate(job["train"]),
        Path(job["folder"]),
        seed=job["seed"],
        start=read_student(Path(job["start"]))[0] if job["start"] else None,
    )
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
