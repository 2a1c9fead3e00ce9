"""Where work runs: a list of independent tasks in, their results out, in this process or in local workers."""

from potstill.execute.local import available_cores, run_tasks

__all__ = ["available_cores", "run_tasks"]
