"""The student against its teacher: errors, physics, speed."""
