"""Data sets: reading them, the one file that every job maps, and random views of images."""
