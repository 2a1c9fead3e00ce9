"""Exports of the trained student to simulation engines."""

from potstill.deploy.student import DeployedStudent, load_student, student_calculator

__all__ = ["DeployedStudent", "load_student", "student_calculator"]
