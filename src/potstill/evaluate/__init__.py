"""The student beside its teacher: errors, physics, speed."""
