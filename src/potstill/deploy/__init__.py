"""Exports of the trained student to simulation engines."""

from potstill.deploy.student import DeployedStudent, load_student

__all__ = ["DeployedStudent", "load_student"]
