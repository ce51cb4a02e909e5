"""For a pytest that runs on a cluster's login node: the cluster is the one of its environment."""

import os
from types import SimpleNamespace

import pytest


@pytest.fixture(scope="session")
def slurm() -> SimpleNamespace:
    """What tests of Snakemake in pytest's own process need of a cluster."""
    return SimpleNamespace(environment=dict(os.environ))
