"""GO or NO-GO on a dataset, with the figures behind it."""

from potstill.audit.stage import audit

__all__ = ["audit"]
