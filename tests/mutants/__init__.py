"""Mutation testing by a list of small faults, each of which some test has to notice.

``python -m tests.mutants`` (or ``make mutants``) puts every fault of `lists/` into a copy of the
checkout, one at a time, and runs the tests that its list names.
"""
