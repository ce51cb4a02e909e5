"""Commands that print what there is to know of a study, each in a module of its own."""
