"""Gathering the outputs of a study's jobs into tables, with one module for each rule."""
