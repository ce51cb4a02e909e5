"""What a study will cost: jobs, hours, files and disk, by rule, before it is run and without torch."""
