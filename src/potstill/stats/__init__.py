"""Statistics of a dataset in one pass, for the audit and the report."""

from potstill.stats.one_pass import collect, collect_once
from potstill.stats.table import Statistics

__all__ = ["Statistics", "collect", "collect_once"]
