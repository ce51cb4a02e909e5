"""Snakemake's own test cases for executor plugins, for one cluster or another."""

from snakemake.common.tests import TestWorkflowsLocalStorageBase

from snakemake_executor_plugin_submitit import ExecutorSettings


class OfficialCases(TestWorkflowsLocalStorageBase):
    """Derive a class with `__test__ = True` and `cluster`."""

    __test__ = False
    cluster: str

    def get_executor(self) -> str:
        return "submitit"

    def get_executor_settings(self) -> ExecutorSettings:
        return ExecutorSettings(cluster=self.cluster)
