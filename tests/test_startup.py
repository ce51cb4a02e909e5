"""Which heavy packages a command imports: none that it does not use.

A package is imported wherever any module that runs asks for it, so a single import at the top of a
module, or a call of pyarrow, can make every job of a study slower by a tenth of a second.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdlm.cli import main
from kdlm.study.config import parse
from kdlm.study.jobs import answers_jobs, init_means_jobs, student_jobs, teacher_jobs

HEAVY = {
    "PIL",
    "kdlm.study.config",
    "matplotlib",
    "numpy",
    "pandas",
    "pyarrow",
    "pyarrow.dataset",
    "rocrate",
    "scipy",
    "seaborn",
    "sklearn",
    "snakemake",
    "torch",
    "torch._dynamo",
    "torchvision",
    "yaml",
}
"""Packages and modules that take more than a hundredth of a second to import."""

TRAINING = {"numpy", "pyarrow", "torch"}

Imported = Callable[..., set[str]]


def imported(*command: str | Path, folder: Path) -> set[str]:
    """Run a module of Python in ``folder``, and return what it imports of `HEAVY`."""
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", *command],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    lines = [line for line in run.stderr.splitlines() if line.startswith("import time:")]
    names = {line.rpartition("|")[2].strip() for line in lines}
    assert "site" in names
    return HEAVY & names


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny: dict[str, Any]) -> Path:
    """A folder with both prepared datasets and a teacher."""
    folder = tmp_path_factory.mktemp("trained")
    for name in ("digits", "photographs"):
        assert not main(["prepare", "--name", name, "--output", f"{folder}/{name}.safetensors"])
    spec = teacher_jobs(parse(tiny))[0].spec.canonical_json()
    assert not main(
        ["train-teacher", "--spec", spec, "--data", f"{folder}/digits.safetensors",
         "--output", f"{folder}/teacher"]
    )  # fmt: skip
    return folder


def test_a_training_imports_torch_and_what_writes_its_files(
    trained: Path, tiny: dict[str, Any]
) -> None:
    study = parse(tiny)
    data = ("--data", "digits.safetensors", "--checkpoint", "kept/checkpoint.safetensors")
    spec = teacher_jobs(study)[0].spec.canonical_json()
    train = ("kdlm", "train-teacher", "--spec", spec, *data, "--output", "again")
    assert imported(*train, folder=trained) == TRAINING
    spec = next(student_jobs(study)).spec.canonical_json()
    distill = ("kdlm", "distill", "--spec", spec, *data, "--teacher", "teacher", "--output", "s")
    assert imported(*distill, folder=trained) == TRAINING
    spec = next(iter(answers_jobs(study).values())).spec.canonical_json()
    answers = ("kdlm", "answers", "--spec", spec, *data[:2], "--teacher", "teacher")
    assert imported(*answers, "--output", "a.parquet", folder=trained) == TRAINING
    assert imported(*distill, "--answers", "a.parquet", folder=trained) == TRAINING


def test_initialisation_means_import_what_a_training_does(
    trained: Path, tiny: dict[str, Any]
) -> None:
    spec = next(init_means_jobs(parse(tiny))).spec.canonical_json()
    command = ("kdlm", "init-means", "--spec", spec, "--data", "photographs.safetensors")
    assert imported(*command, "--output", "m/means.parquet", folder=trained) == TRAINING


def test_a_config_is_resolved_without_any_of_them(tmp_path: Path, tiny: dict[str, Any]) -> None:
    text = parse(tiny).canonical_json()
    command = ("kdlm", "resolve", "--config", text, "--output", "study.json")
    assert imported(*command, folder=tmp_path) == {"kdlm.study.config"}


def test_claims_are_printed_without_torch(finished: Path) -> None:
    found = imported("kdlm", "claims", "results/tiny", folder=finished)
    assert not found & {"torch", "matplotlib", "seaborn", "sklearn", "snakemake", "yaml"}


def test_the_workflow_imports_the_config_and_pandas(finished: Path) -> None:
    """Pandas is what Paramspace needs, and what Snakemake looks for when it compares parameters.

    pyarrow is what pandas imports where it is installed.
    """
    own = imported("snakemake", "--version", folder=finished)
    snakefile = Path(__file__).parents[1] / "Snakefile"
    command = ("snakemake", "--snakefile", snakefile, "--configfile", "tiny.yaml", "--cores", "1")
    added = imported(*command, folder=finished) - own
    assert added == {"kdlm.study.config", "pandas", "pyarrow"}
