"""From a labelled dataset to a student."""
