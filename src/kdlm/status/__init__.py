"""The state of a study while it runs, from the files in its folder alone."""
