"""What only a cluster of several hosts shows, with an ordinary user and accounts."""

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.slurm24.cluster import USER, NamespaceCluster

from .base import REPOSITORY
from .controller import Controller, Job, until

Observed = Callable[[str], None]


def test_every_job_is_on_a_host_of_its_own(slurm: NamespaceCluster, tmp_path: Path) -> None:
    """As the user, on one core of its node, with a /tmp that the other hosts do not see."""
    command = "(hostname; id -un; nproc; ls /tmp/mine || touch /tmp/mine) > NAME"
    jobs = {
        name: Job(
            command.replace("NAME", f"said.{name}"),
            resources={"exclude": ",".join({*slurm.nodes} - {name})},
        )
        for name in slurm.nodes
    }
    run = Controller(slurm, tmp_path, jobs)
    assert run.run() == 0, run.said
    for name in slurm.nodes:
        assert (tmp_path / f"said.{name}").read_text().split() == [name, "ada", "1"]
        assert (tmp_path / f"out/{name}/done").stat().st_uid == USER


@pytest.mark.fault(
    "an account of others",
    area="cluster",
    provoked="slurm_account=chemistry, where the user has none there",
)
def test_an_account_of_others_is_refused(
    slurm: NamespaceCluster, tmp_path: Path, observed: Observed
) -> None:
    jobs = {
        "mine": Job(resources={"slurm_account": "physics"}),
        "theirs": Job(resources={"slurm_account": "chemistry"}),
    }
    run = Controller(slurm, tmp_path, jobs)
    assert run.run() == 1
    assert run.done == {"mine"}
    assert "Not submitted: sbatch: error:" in run.said
    assert "Invalid account or account/partition combination specified" in run.said
    observed("reported in sbatch's own words, nothing started; every other job finished")


@pytest.mark.fault(
    "snakemake killed on one login node, started on another",
    area="cluster",
    provoked="`kill -9` with six jobs on the cluster, then the same command on another host",
)
def test_a_controller_on_another_host_goes_on(
    slurm: NamespaceCluster, tmp_path: Path, observed: Observed
) -> None:
    jobs = {f"job{number}": Job("sleep 20") for number in range(6)}
    first = Controller(slurm, tmp_path, jobs)
    first.start()
    until("some run", lambda: any(first.starts(job) for job in jobs))
    first.signal(signal.SIGKILL)
    first.wait()
    second = Controller(slurm.seen_from("ctl"), tmp_path, jobs)
    assert second.run() == 0, second.said
    assert second.done == set(jobs)
    assert [second.starts(job) for job in jobs] == [1] * 6
    assert "Adopted job" in second.said
    observed("running and waiting jobs adopted; each ran once; all outputs there")


@pytest.mark.fault(
    "login nodes that forbid long processes",
    area="cluster",
    provoked="snakemake itself run by sbatch, on a node",
)
def test_a_controller_inside_a_job(
    slurm: NamespaceCluster, tmp_path: Path, observed: Observed
) -> None:
    run = Controller(slurm, tmp_path, {f"job{number}": Job("hostname") for number in range(3)})
    script = tmp_path / "controller.sh"
    script.write_text(f"#!/bin/sh\ncd {tmp_path}\nexec {slurm.python} -m snakemake "
                      "--executor submitit --jobs 10 --scheduler greedy\n")  # fmt: skip
    run.slurm("sbatch", "--wait", "--mem=500", f"--output={tmp_path}/output", str(script))
    assert run.done == {"job0", "job1", "job2"}, run.said
    assert run.said.count("Submitted job") == 3
    observed("the jobs are submitted from there, and all finish")


def test_snakemakes_own_cases_as_an_ordinary_user(slurm: NamespaceCluster) -> None:
    """test_official.py, by a pytest on the login node, since it runs Snakemake in its process."""
    options = ["--noconftest", "-p", "tests.slurm.here", "-p", "no:cacheprovider", "-rA"]
    temporary = f"--basetemp={slurm.home}/official"
    cases = subprocess.run(
        slurm.enter(
            [slurm.python, "-m", "pytest", *options, temporary, "tests/slurm/test_official.py"],
            REPOSITORY,
        ),
        env=slurm.environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert cases.returncode == 0, cases.stdout
    assert "PASSED" in cases.stdout
