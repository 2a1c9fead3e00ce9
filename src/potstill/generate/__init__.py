"""Structures from sources: molecules, crystals, benchmark sets, perturbed copies, the user's files."""
