"""A cluster without Slurm, and a study on it."""

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from fake_slurm import FakeSlurm, install
from study import Study


def pytest_configure() -> None:
    """Let the programs that tests start be ended by Ctrl-C, and examples take their time.

    What a script starts in the background ignores SIGINT, and so does all that it starts.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # a machine that others use may take long over any example
    settings.register_profile("slow", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("slow")


@pytest.fixture
def observed(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Function that records what happened after a fault, for a report on the marker ``fault``."""
    return partial(record_property, "observed")


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSlurm]:
    """Slurm's commands, first in PATH."""
    fake = install(tmp_path / "slurm", tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    yield fake
    fake.end()


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Study]:
    """A folder for a Snakefile; where `slurm` is asked for as well, name it first."""
    folder = tmp_path / "study"
    folder.mkdir()
    study = Study(folder)
    yield study
    study.end()
