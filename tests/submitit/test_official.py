"""Snakemake's own test cases for executor plugins."""

from tests.submitit.official import OfficialCases


class TestLocal(OfficialCases):
    __test__ = True
    cluster = "local"
