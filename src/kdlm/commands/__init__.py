"""The larger commands that no rule calls, each in a module of its own."""
