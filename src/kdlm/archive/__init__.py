"""Archives: one file holds a finished study's results, source, environment and job records."""

__all__ = ["FORMAT"]

FORMAT = 1
"""Version of the layout of archives; increased if an older `kdlm.reproduce` would misread it."""
