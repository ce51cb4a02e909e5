"""Hostile surroundings for the whole workflow: names, paths, environments."""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

Run = Callable[..., subprocess.CompletedProcess[str]]
Observed = Callable[[str], None]

NASTY = "a b'c\"d $(touch pwned) `x` ü"
# what every one of them reruns: claims, and a figure of them
TARGETS = ("--", "results/tiny/figures/routes.svg")


def spoil(folder: Path) -> bytes:
    """Delete the last claims, so that there is something to do; what they were."""
    figure = folder / "results/tiny/figures/routes.svg"
    drawn = figure.read_bytes()
    figure.unlink()
    return drawn


def redraws(snakemake: Run, folder: Path, **env: str) -> None:
    drawn = spoil(folder)
    run = snakemake(folder, "--scheduler", "greedy", "--configfile", "tiny.yaml", *TARGETS, env=env)
    assert run.returncode == 0, run.stdout[-3000:]
    assert (folder / TARGETS[-1]).read_bytes() == drawn


@pytest.mark.slow
@pytest.mark.fault(
    "a checkout in a path with spaces and quotes",
    area="hostile input",
    provoked="the checkout in a folder named with spaces, both quotes, `$(…)`, backquotes, ü",
)
def test_a_path_of_the_checkout(
    snakemake: Run, checkout: Path, tmp_path: Path, observed: Observed
) -> None:
    folder = tmp_path / NASTY
    checkout.rename(folder)
    student = sorted((folder / "results/tiny/students").rglob("run.json"))[0].parent
    model = (student / "model.safetensors").read_bytes()
    shutil.rmtree(student)
    shutil.rmtree(folder / "results/tiny/tables")
    (folder / "results/tiny/claims.parquet").unlink()
    run = snakemake(folder, "--configfile", "tiny.yaml")
    assert run.returncode == 0, run.stdout[-3000:]
    assert (student / "model.safetensors").read_bytes() == model
    assert not list(tmp_path.rglob("pwned"))
    observed("the study runs there; the student has the same bits")


@pytest.mark.slow
@pytest.mark.fault(
    "`make study` in a path with spaces and quotes",
    area="hostile input",
    provoked="`make study` in such a folder, its environment and its study already made",
)
def test_make_in_such_a_path(checkout: Path, tmp_path: Path, observed: Observed) -> None:
    folder = tmp_path / NASTY
    checkout.rename(folder)
    root = Path(__file__).parents[2]
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy2(root / name, folder)
    (folder / ".venv").symlink_to(sys.prefix)
    shutil.copy(folder / "tiny.yaml", folder / "config.yaml")
    run = subprocess.run(
        ["make", "-o", ".venv/.study", "study"],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(folder / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    # the last line prints the claims of the default study, which is not this one
    assert "Nothing to be done" in run.stderr, run.stderr[-3000:]
    assert "results/digits is not" in run.stderr or "claims.parquet is missing" in run.stderr
    observed("snakemake starts from there and finds the study finished")


@pytest.mark.parametrize(
    "root",
    [NASTY, *(pytest.param(one, marks=pytest.mark.slow)
              for one in ("../pictures", "line\nbreak", "Bilder-ü-图"))],
)  # fmt: skip
@pytest.mark.fault(
    "a dataset's root with quotes, `$(…)`, `../`, a line break, unicode",
    area="hostile input",
    provoked="an imagefolder below each such folder, prepared by the workflow",
)
def test_a_root(
    snakemake: Run, tmp_path: Path, tiny: dict[str, Any], observed: Observed, root: str
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    for split in ("train", "test"):
        for shade, name in enumerate(("it's", "$(touch pwned)")):
            image = work / root / split / name / "0.png"
            image.parent.mkdir(parents=True)
            Image.fromarray(np.full((8, 8, 3), 90 * shade + 9, np.uint8)).save(image)
    dataset = {"name": "imagefolder", "root": root, "image_side": 8}
    (work / "config.yaml").write_text(yaml.safe_dump(tiny | {"dataset": dataset}))
    target = "results/tiny/data/imagefolder.safetensors"
    run = snakemake(work, "--configfile", "config.yaml", "--", target)
    assert run.returncode == 0, run.stdout[-3000:]
    assert (work / target).is_file()
    assert not list(tmp_path.rglob("pwned*")), "a name was run as a command"
    observed("the images are read; nothing in a name is run")


@pytest.mark.fault(
    "an installation in a folder beyond ASCII",
    area="hostile input",
    provoked="the sources without git in a folder named ü, LC_ALL=C, the Makefile's first step",
)
def test_an_installation_beyond_ascii(
    copy_sources: Callable[[Path], Path], tmp_path: Path, observed: Observed
) -> None:
    folder = copy_sources(tmp_path / "kdlm-ü")
    root = Path(__file__).parents[2]
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "README.md", "LICENSE"):
        shutil.copy2(root / name, folder)
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(root / "packages", folder / "packages", ignore=ignored)
    # what would be fetched is there already; the two distributions are built and installed
    env = {
        "PATH": "/usr/bin:/bin", "LC_ALL": "C", "PYTHONPATH": sysconfig.get_path("purelib"),
        "PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0",
    }  # fmt: skip
    run = subprocess.run(
        ["make", f"PYTHON={shlex.quote(sys.executable)}", ".venv/.study"],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    found = subprocess.run(
        [folder / ".venv/bin/python", "-c", "import kdlm; print(ascii(kdlm.__file__))"],
        env={"LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == ascii(str(folder / "src/kdlm/__init__.py"))
    observed("installed, and imported from there")


@pytest.mark.parametrize("name", ["a b", "it's", "$(x)", "../x", "a\nb", "ü", "", "-n", "a/b"])
@pytest.mark.fault(
    "a study's or recipe's name that is no name",
    area="hostile input",
    provoked="spaces, quotes, `$(…)`, `../`, a line break, ü, nothing, a leading dash as names",
)
def test_a_name(
    snakemake: Run, tmp_path: Path, tiny: dict[str, Any], observed: Observed, name: str
) -> None:
    recipes = {name: tiny["recipes"]["short"], **tiny["recipes"]}
    for key, bad in (("study", tiny | {"study": name}), ("recipes", tiny | {"recipes": recipes})):
        (tmp_path / "bad.yaml").write_text(yaml.safe_dump(bad, allow_unicode=True))
        run = snakemake(tmp_path, "-n", "--configfile", "bad.yaml")
        assert run.returncode == 1
        assert key in run.stdout
        assert "Traceback" not in run.stdout
        assert not (tmp_path / "results").exists()
    observed("refused before any job, in one line that names the key")


@pytest.mark.fault(
    "no HOME, no environment at all", area="hostile input", provoked="`env -i` and the workflow"
)
def test_no_home(snakemake: Run, checkout: Path, observed: Observed) -> None:
    redraws(snakemake, checkout)
    observed("works; the figure is equal bit for bit")


@pytest.mark.fault(
    "a home and a TMPDIR that cannot be written to",
    area="hostile input",
    provoked="HOME=/proc TMPDIR=/proc, and XDG_CACHE_HOME in the checkout, as `make study` sets it",
)
def test_a_read_only_home(snakemake: Run, checkout: Path, observed: Observed) -> None:
    cache = str(checkout / ".snakemake/cache")
    redraws(snakemake, checkout, HOME="/proc", TMPDIR="/proc", XDG_CACHE_HOME=cache)
    observed("works; the figure is equal bit for bit")


@pytest.mark.fault(
    "a C locale",
    area="hostile input",
    provoked="LC_ALL=C and POSIX without Python's UTF-8 mode; the workflow and the printed claims",
)
@pytest.mark.parametrize("locale", ["C", "POSIX"])
def test_a_c_locale(snakemake: Run, checkout: Path, observed: Observed, locale: str) -> None:
    env = {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    redraws(snakemake, checkout, **env)
    printed = subprocess.run(
        [sys.executable, "-m", "kdlm", "claims", "results/tiny"],
        cwd=checkout,
        env=env,
        capture_output=True,
        check=False,
    )
    assert printed.returncode == 0, printed.stderr
    assert b"eq7-printed" in printed.stdout
    observed("works; the claims are printed")


@pytest.mark.slow
@pytest.mark.fault(
    "environment variables that set the threads",
    area="hostile input",
    provoked="OMP_, MKL_, OPENBLAS_NUM_THREADS and OMP_DYNAMIC for a student, tables and claims",
)
def test_thread_counts(snakemake: Run, checkout: Path, observed: Observed) -> None:
    student = sorted((checkout / "results/tiny/students").rglob("run.json"))[0].parent
    files = [student / name for name in ("model.safetensors", "history.parquet")]
    files += sorted((checkout / "results/tiny/tables").iterdir())
    files += [checkout / "results/tiny/claims.parquet"]
    before = {file: file.read_bytes() for file in files}
    for file in files:
        file.unlink()
    variables = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    run = snakemake(
        checkout, "--configfile", "tiny.yaml",
        env=dict.fromkeys(variables, "2") | {"OMP_DYNAMIC": "true", "MKL_DYNAMIC": "TRUE"},
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-3000:]
    assert {os.fspath(file) for file in files if file.read_bytes() != before[file]} == set()
    observed("the config's thread count holds: weights, history, tables, claims equal bit for bit")
