"""The clusters that the tests here run on, each booted once.

They need root and Debian's Slurm and take minutes, so only a run that names this folder has them:
``pytest tests/slurm`` on Slurm 22.05, and with ``KDLM_TEST_SLURM=24.11`` in the environment on
Slurm 24.11, whose hosts, user and accounts are those of ``tests.slurm24``.
"""

import functools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.slurm.base import Cluster
from tests.slurm.cluster import SlurmCluster
from tests.slurm24.cluster import NamespaceCluster

HERE = Path(__file__).parent

VERSION = os.environ.get("KDLM_TEST_SLURM", "22.05")
KINDS: dict[str, type[Cluster]] = {"22.05": SlurmCluster, "24.11": NamespaceCluster}

ELSEWHERE = {
    # the Python of that cluster's hosts has Snakemake, but neither kdlm nor torch
    "test_training.py": "22.05",
    # run by test_hosts.py on the login node, since these cases run Snakemake in pytest's process
    "test_official.py": "22.05",
    # several hosts, an ordinary user, accounts: the other cluster has none of them
    "test_hosts.py": "24.11",
    # 22.05 does not do what these provoke
    "test_newer.py": "24.11",
}
"""Files of tests that only one of the clusters can run."""

Fresh = Callable[..., Cluster]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Collect nothing here for a run that has not asked for it."""
    if ELSEWHERE.get(collection_path.name, VERSION) != VERSION:
        return True
    asked = [(config.invocation_params.dir / name.split("::")[0]).resolve() for name in config.args]
    return None if any(path.is_relative_to(HERE) for path in asked) else True


@pytest.fixture(scope="session")
def fresh_cluster(tmp_path_factory: pytest.TempPathFactory) -> Fresh:
    """Function that describes a cluster of the version asked for; it is not booted yet."""
    if VERSION not in KINDS:
        raise pytest.UsageError(f"KDLM_TEST_SLURM is {VERSION!r}; give one of {', '.join(KINDS)}")
    if KINDS[VERSION] is NamespaceCluster:
        return functools.partial(NamespaceCluster, shared=[tmp_path_factory.getbasetemp()])
    return KINDS[VERSION]


@pytest.fixture(scope="session")
def by_hand() -> list[str]:
    """The command that boots such a cluster by hand."""
    module = KINDS[VERSION].__module__.rpartition(".")[0]
    return [sys.executable, "-m", module]


@pytest.fixture(scope="session")
def slurm(fresh_cluster: Fresh) -> Iterator[Cluster]:
    """A cluster with accounting."""
    yield from _booted(fresh_cluster(accounting=True))


@pytest.fixture(scope="session")
def slurm_without_accounting(fresh_cluster: Fresh) -> Iterator[Cluster]:
    """A cluster that has no slurmdbd: sacct does not answer, old jobs are forgotten."""
    yield from _booted(fresh_cluster(accounting=False))


def _booted(cluster: Cluster) -> Iterator[Cluster]:
    reason = cluster.available()
    if reason is not None:
        pytest.skip(reason)
    with cluster:
        yield cluster


@pytest.fixture
def tmp_path(tmp_path: Path) -> Path:
    """A temporary folder that is the cluster's user's."""
    KINDS[VERSION].give(tmp_path)
    return tmp_path
