"""Working directories whose paths are patterns to Slurm and to submitit."""

import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from fake_slurm import FakeSlurm
from study import Study

TWO = """
rule all:
    input:
        expand("out/{x}.txt", x=["one", "two"]),

rule make:
    output:
        "out/{x}.txt",
    shell:
        "echo words; touch {output}"
"""


@pytest.mark.fault(
    "a `%` in the path of the working directory",
    area="cluster",
    provoked="folders that Slurm or submitit take for patterns, one with spaces and quotes",
)
@pytest.mark.parametrize(
    "name", ["noise 10%n", "run 50%a", "%j%A%t", "it's one #1 %x", 'two "$x" %%u', "100%"]
)
def test_a_percent_sign(
    slurm: FakeSlurm, tmp_path: Path, observed: Callable[[str], None], name: str
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    before = {*tmp_path.iterdir()}
    study = Study(folder)
    study.write(TWO)
    study.start("--submitit-keep-logs").succeed()
    assert len(list(study.files("out/*.txt"))) == 2
    assert len(list(study.files(".snakemake/submitit/logs/make/*/*.log"))) == 2
    assert {*tmp_path.iterdir()} == before
    assert {slurm.state_of(job["id"]) for job in slurm.jobs()} == {"COMPLETED"}
    observed("a character like any other: jobs run, all files are where they belong")


@pytest.mark.fault(
    "an environment in a folder with a space",
    area="cluster",
    provoked="Snakemake run by a Python in `my ü envs`",
)
def test_an_environment_in_a_folder_with_a_space(
    slurm: FakeSlurm, tmp_path: Path, observed: Callable[[str], None]
) -> None:
    environment = tmp_path / "my ü envs/one"
    venv.create(environment, symlinks=True)
    # the packages are those of the Python that runs the tests
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "ours.pth").write_text("\n".join(filter(None, sys.path)), encoding="utf-8")
    study = Study(tmp_path)
    study.write(TWO)
    python = str(environment / "bin/python")
    study.start(python=python).succeed()
    assert len(list(study.files("out/*.txt"))) == 2
    assert {slurm.state_of(job["id"]) for job in slurm.jobs()} == {"COMPLETED"}
    observed("jobs run, by that Python")


@pytest.mark.parametrize("name", ['it\'s "a"', "it's $HOME", "a\\b"])
def test_a_path_that_no_command_of_snakemakes_can_hold(
    slurm: FakeSlurm, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    study = Study(folder)
    study.write(TWO)
    text = study.start().fail()
    assert f"submitit: {folder}: the command by which Snakemake starts a job cannot hold" in text
    assert not slurm.calls("sbatch")


def test_a_pattern_of_submitits_on_this_machine(tmp_path: Path) -> None:
    folder = tmp_path / "50%a"
    folder.mkdir()
    study = Study(folder)
    study.write(TWO)
    text = study.start("--submitit-cluster", "local").fail()
    assert "submitit reads %a as a pattern; work in a folder without it" in text
