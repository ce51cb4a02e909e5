"""Commands that print what a finished study has found, each in a module of its own."""
