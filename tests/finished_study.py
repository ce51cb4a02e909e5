"""The tiny study, run once a session whichever workers ask for it, and copies of it to spoil."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from kdlm.storage.locks import lock_file

ROOT = Path(__file__).parents[1]
SOURCES = ("Snakefile", "workflow", "src")

Run = Callable[..., subprocess.CompletedProcess[str]]


def _snakemake(
    folder: Path, *arguments: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in ``folder`` as a stranger who has activated no environment.

    A folder that has sources of its own runs those, others the checkout's.
    """
    root = folder if (folder / "Snakefile").is_file() else ROOT
    own = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(root / "src")}
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "--snakefile", root / "Snakefile", "--cores", "2",
         *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env=os.environ | own if env is None else own | env,
    )  # fmt: skip


@pytest.fixture(scope="session")
def snakemake() -> Run:
    return _snakemake


@pytest.fixture(scope="session")
def pristine(
    tmp_path_factory: pytest.TempPathFactory, worker_id: str, tiny: dict[str, Any]
) -> Path:
    """A folder in which the tiny study is done, and its config tiny.yaml; not to be changed."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "tiny study"
    with lock_file(folder.with_name("tiny study.lock")):
        if not (folder / "done").exists():
            folder.mkdir()
            (folder / "tiny.yaml").write_text(yaml.safe_dump(tiny))
            run = _snakemake(folder, "--configfile", "tiny.yaml")
            assert run.returncode == 0, run.stdout[-5000:]
            (folder / "done").touch()
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, pristine: Path) -> Path:
    """A copy of the finished study for the tests of one file."""
    return shutil.copytree(pristine, tmp_path_factory.mktemp("copy") / "study")


def _copy(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="session")
def copy_sources() -> Callable[[Path], Path]:
    """Function that copies the sources to a folder, which it makes and returns."""
    return _copy


@pytest.fixture
def checkout(tmp_path: Path, pristine: Path) -> Path:
    """A checkout of its own in which the tiny study is done."""
    folder = shutil.copytree(pristine, tmp_path / "checkout")
    return _copy(folder)
