"""Scripts that run under the interpreters of isolated environments, where potstill cannot be imported."""
