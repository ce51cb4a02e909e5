"""What is asked for: the config, each job's spec and folder, and the columns of every table.

Nothing here computes a result, and nothing here imports torch or pyarrow.
"""
