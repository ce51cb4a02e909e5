"""What a study will cost, by rule, before it is run: jobs, hours, files and disk."""
