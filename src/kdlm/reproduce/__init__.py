"""Checking an archive: what is in it, what it is rebuilt to, and what its jobs give when rerun."""

__all__: list[str] = []
