"""Where work runs: a list of independent tasks in, their results out, in this process or in local workers."""

from potstill.execute.local import Lost, available_cores, run_tasks, try_again
from potstill.execute.worker import expect_within

__all__ = ["Lost", "available_cores", "expect_within", "run_tasks", "try_again"]
