"""Executors: independent tasks in, their results out, in this process, in local workers or on a cluster."""

from potstill.execute.executor import Executor, LocalExecutor
from potstill.execute.local import Lost, available_cores, run_tasks, try_again
from potstill.execute.worker import expect_within

__all__ = ["Executor", "LocalExecutor", "Lost", "available_cores", "expect_within", "run_tasks", "try_again"]
