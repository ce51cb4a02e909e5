"""What pytest must not import in this folder."""

# run by the environment of roc-validator
collect_ignore = ["seed_contexts.py"]
