"""Gathering the outputs of a study's jobs into tables; one module a rule."""
