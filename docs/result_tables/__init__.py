"""Tables and figures of the documentation, each made when the pages are built.

A function that is decorated with :func:`~result_tables.base.table_of` stands for the directive ``::measured`` with its name,
one with :func:`~result_tables.base.figure_of` for ``{figure NAME}`` within a sentence.
"""

from result_tables import (
    accuracy,
    costs,
    data,
    engines,
    figures_of_code,
    figures_of_labels,
    figures_of_runs,
    figures_of_students,
    register,
    speed,
)
from result_tables.base import FIGURES, TABLES, printed
from result_tables.register import checks, citation

__all__ = [
    "FIGURES",
    "TABLES",
    "accuracy",
    "checks",
    "citation",
    "costs",
    "data",
    "engines",
    "figures_of_code",
    "figures_of_labels",
    "figures_of_runs",
    "figures_of_students",
    "printed",
    "register",
    "speed",
]
