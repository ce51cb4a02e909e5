"""The tiny study, run once by Snakemake for all tests of this folder."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]

Run = Callable[..., subprocess.CompletedProcess[str]]


def _snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in ``folder`` as a stranger who has activated no environment."""
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--cores", "2",
         *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env=os.environ | {"PATH": "/usr/bin:/bin"},
    )  # fmt: skip


@pytest.fixture(scope="session")
def snakemake() -> Run:
    return _snakemake


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny: dict[str, Any]) -> Path:
    """A folder in which the tiny study is done, and its config tiny.yaml."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(tiny))
    run = _snakemake(folder, "--configfile", "tiny.yaml")
    assert run.returncode == 0, run.stdout[-5000:]
    return folder
