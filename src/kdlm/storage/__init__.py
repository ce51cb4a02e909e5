"""Writing to disk and reading back: sealed files, Parquet tables, locks, and run.json."""
