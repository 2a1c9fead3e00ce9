"""Tables of the documentation, each made when the pages are built.

A function that is decorated with :func:`~result_tables.base.table_of` stands for the directive ``::measured`` with its name.
"""

from result_tables import accuracy, costs, data, engines, register, speed
from result_tables.base import TABLES
from result_tables.register import checks, citation

__all__ = ["TABLES", "accuracy", "checks", "citation", "costs", "data", "engines", "register", "speed"]
