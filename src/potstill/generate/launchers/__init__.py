"""Scripts that the interpreters of isolated environments run: nothing of potstill can be imported there."""
