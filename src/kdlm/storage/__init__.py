"""How bytes come to disk and back: sealed files, tables, locks, and a run's circumstances."""
