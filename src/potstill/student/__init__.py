"""The compact network that learns from the teacher: local energies, conservative forces, stress."""
