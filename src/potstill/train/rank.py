"""Another rank of a training, started by rank 0: ``python -m potstill.train.rank HOST PORT RANK PROCESSES``.

It reads the dataset itself, computes its part of each step, and writes nothing. It ends with rank 0.
"""

from __future__ import annotations

import sys
import threading

from torch import distributed as torch_distributed

from potstill.execute.supervisor import end_with_parent


def main() -> None:
    """Train with the other ranks, then end."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    from potstill.train.distributed import join
    from potstill.train.job import TrainJob
    from potstill.train.stage import train

    train(TrainJob.from_json(join(sys.argv[1], *map(int, sys.argv[2:5]))))
    torch_distributed.destroy_process_group()


if __name__ == "__main__":
    main()
