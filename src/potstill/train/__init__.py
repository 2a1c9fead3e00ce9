"""Training of a student on a labelled dataset."""
