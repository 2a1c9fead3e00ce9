"""A source and a teacher for potstill."""
