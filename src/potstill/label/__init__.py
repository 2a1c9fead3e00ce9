"""Label structures with a teacher: energy, forces and stress of every structure."""
