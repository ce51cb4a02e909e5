"""Data sets: reading raw files, the prepared file that all jobs map, and augmentation."""
