"""Test kits for authors of sources, teachers, students and checks, and tiny structures for the tests.

A plug-in's test is one line; the built-in ones pass the same kits::

    from potstill.testing import check_teacher, rocksalt, water


    def test_my_teacher():
        check_teacher(MyTeacher(), [water(), rocksalt()])

A kit returns nothing on success, and raises AssertionError with the measured figure and its limit on failure. pytest is not
needed.
"""

from potstill.testing.data import check_check, check_source
from potstill.testing.faults import FAULTS, Case, Fault
from potstill.testing.models import check_student, check_teacher, random_student
from potstill.testing.physics import CUTOFF_STEP_ANGSTROM, FLOAT32, FLOAT64, Tolerances
from potstill.testing.spoiled import SPOILED, Spoiled, SpoiledCalculator
from potstill.testing.structures import (
    all_structures,
    copper,
    ethanol,
    left_handed,
    lone_crystal,
    one_atom,
    rattled,
    rocksalt,
    silicon,
    slab,
    triclinic,
    water,
    wire,
)

__all__ = [
    "CUTOFF_STEP_ANGSTROM",
    "FAULTS",
    "FLOAT32",
    "FLOAT64",
    "SPOILED",
    "Case",
    "Fault",
    "Spoiled",
    "SpoiledCalculator",
    "Tolerances",
    "all_structures",
    "check_check",
    "check_source",
    "check_student",
    "check_teacher",
    "copper",
    "ethanol",
    "left_handed",
    "lone_crystal",
    "one_atom",
    "random_student",
    "rattled",
    "rocksalt",
    "silicon",
    "slab",
    "triclinic",
    "water",
    "wire",
]
