"""The clusters that the tests here run on, each booted once.

They need root and Debian's Slurm and take minutes, so only a run that names this folder has them:
``pytest tests/slurm``.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .cluster import SlurmCluster, available

HERE = Path(__file__).parent


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Collect nothing here for a run that has not asked for it."""
    asked = [(config.invocation_params.dir / name.split("::")[0]).resolve() for name in config.args]
    return None if any(path.is_relative_to(HERE) for path in asked) else True


@pytest.fixture(scope="session")
def slurm() -> Iterator[SlurmCluster]:
    """A cluster with accounting."""
    yield from _booted(accounting=True)


@pytest.fixture(scope="session")
def slurm_without_accounting() -> Iterator[SlurmCluster]:
    """A cluster that has no slurmdbd: sacct does not answer, old jobs are forgotten."""
    yield from _booted(accounting=False)


def _booted(*, accounting: bool) -> Iterator[SlurmCluster]:
    reason = available()
    if reason is not None:
        pytest.skip(reason)
    with SlurmCluster(accounting=accounting) as cluster:
        yield cluster
