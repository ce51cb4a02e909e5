"""One file that holds a finished study: results, source, environment, and every job's record."""

__all__ = ["FORMAT"]

FORMAT = 1
"""Of an archive's layout; raised when an older `kdlm.reproduce` would misread it."""
