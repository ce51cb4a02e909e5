"""The description of a study: its config, each job's spec and folder, and the columns of tables.

No module of this package computes a result, and none imports torch or pyarrow.
"""
