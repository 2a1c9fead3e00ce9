"""Types and rules that every stage stands on; this package imports no other package of potstill."""
