"""A run: its folder, its stages in order, its plan and its status."""
