"""Training teachers and students: the loop, its history, its checkpoints and its files."""
