"""A student that meets its own mistakes: it moves the atoms, the teacher corrects, and it learns again."""
