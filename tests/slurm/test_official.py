"""Snakemake's own test cases for executor plugins, on a real cluster."""

import os
from collections.abc import Iterator

import pytest
from snakemake.common.tests import TestWorkflowsLocalStorageBase

from snakemake_executor_plugin_submitit import ExecutorSettings

from .base import Cluster


@pytest.fixture(autouse=True, scope="module")
def _environment(slurm: Cluster) -> Iterator[None]:
    """The test cases run Snakemake in this process, which has to find the cluster."""
    before = dict(os.environ)
    os.environ.update(slurm.environment)
    yield
    os.environ.clear()
    os.environ.update(before)


class TestSlurm(TestWorkflowsLocalStorageBase):
    """On the cluster."""

    __test__ = True

    def get_executor(self) -> str:
        return "submitit"

    def get_executor_settings(self) -> ExecutorSettings:
        return ExecutorSettings(cluster="slurm")
