"""A cluster without Slurm, and a study on it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.submitit.fake_slurm import FakeSlurm, install
from tests.submitit.study import Study


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
