"""Checking an archive: its files, the tables rebuilt from them, and the results of rerun jobs."""

__all__: list[str] = []
