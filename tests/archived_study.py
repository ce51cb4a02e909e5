"""A tiny study, run and archived once for all workers, from a commit of the checkout's files."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock

ROOT = Path(__file__).parents[1]

_ANYWHERE = shutil.ignore_patterns("__pycache__", ".*_cache", ".hypothesis", "*.egg-info")
_AT_THE_TOP = shutil.ignore_patterns(".git", ".venv*", ".snakemake", "build", "data")


def _not_source(folder: str, names: list[str]) -> set[str]:
    """Names in a folder of the checkout that git would leave out."""
    return _ANYWHERE(folder, names) | (
        _AT_THE_TOP(folder, names) if Path(folder) == ROOT else set()
    )


Kdlm = Callable[..., subprocess.CompletedProcess[str]]

LOGIN = "login-of-somebody"
"""Login name of whoever runs and archives the study; no archive may hold it."""


def _git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=A reviewer", "-c", "user.email=reviewer@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def _clone(folder: Path) -> None:
    """The checkout as it is, committed: an archive names a commit."""
    shutil.copytree(ROOT, folder, ignore=_not_source)
    for path in (folder / "results").iterdir():
        if path.name != "README.md":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    _git(folder, "init", "--quiet")
    _git(folder, "config", "user.name", "A reviewer")
    _git(folder, "add", "--all")
    _git(folder, "commit", "--quiet", "--message", "as it is")


def _in_clone(
    place: Path, module: str, *arguments: str | Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=place / "run",
        env=os.environ
        | {"USER": LOGIN, "LOGNAME": LOGIN, "HOME": str(place / "home")}
        | {"PYTHONPATH": str(place / "clone/src")}
        | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory, tiny: dict[str, Any]) -> Path:
    """A folder with the clone ``clone`` and, in ``run``, the tiny study and its two archives."""
    base = tmp_path_factory.getbasetemp()
    # the workers of a run share the folder above
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    place = base / "archived"
    with FileLock(base / "archived.lock"):
        if not (place / "done").is_file():
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            _clone(place / "clone")
            (place / "run").mkdir()
            (place / "home").mkdir()
            (place / "run/tiny.yaml").write_text(yaml.safe_dump(tiny))
            run = _in_clone(
                place, "snakemake", "archive", "archive_with_weights", "--cores", "2",
                "--snakefile", place / "clone/Snakefile", "--configfile", "tiny.yaml",
            )  # fmt: skip
            assert run.returncode == 0, run.stdout[-5000:]
            (place / "done").touch()
    return place


@pytest.fixture(scope="session")
def kdlm(workplace: Path) -> Kdlm:
    """``python -m kdlm`` of the clone, in the folder of the study, without a terminal."""

    def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        return _in_clone(workplace, "kdlm", *arguments, **environment)

    return run


@pytest.fixture(scope="session")
def archived(workplace: Path) -> Path:
    """The archive that ``snakemake archive`` made."""
    return workplace / "run/results/tiny/archive/tiny.zip"


@pytest.fixture(scope="session")
def with_weights(workplace: Path) -> Path:
    """The archive that ``snakemake archive_with_weights`` made."""
    return workplace / "run/results/tiny/archive/tiny-with-weights.zip"


@pytest.fixture(scope="session")
def unpacked(archived: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first of the two, unpacked by nothing of ours."""
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(archived) as opened:
        opened.extractall(folder)
    return folder
