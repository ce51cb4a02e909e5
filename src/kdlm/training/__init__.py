"""Training teachers and students: the loop, its history, its checkpoints, its outputs."""
