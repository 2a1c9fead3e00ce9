"""Active learning: the student runs MD, the teacher labels frames of it, and the student is trained on them."""
