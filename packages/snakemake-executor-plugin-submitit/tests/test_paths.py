"""Working directories whose paths are patterns to Slurm and to submitit."""

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
@pytest.mark.parametrize("name", ["noise 10%n", "run 50%a", "%j%A%t", 'it\'s "a" #1 %x', "100%"])
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
