"""The trained student in the engines people use."""

from potstill.deploy.student import DeployedStudent, load_student

__all__ = ["DeployedStudent", "load_student"]
