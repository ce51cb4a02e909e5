"""What is reported as finished has left the scheduler, and does not run again."""

import subprocess
import sys
import textwrap
from collections.abc import Callable

import pytest

from fake_slurm import FakeSlurm
from study import Study

CHAIN = """
rule all:
    input: "seen"

rule part:
    output: "part"
    shell: "echo run >> runs; echo words > {output}"

rule consumer:
    input: "part"
    output: "seen"
    shell: "for second in 1 2 3 4 5 6; do cat {input} || echo gone; sleep 1; done > {output} 2>&1"
"""


@pytest.mark.fault(
    "a success that Slurm requeues",
    area="cluster",
    provoked="a preempted job that ends well in its grace time, as Slurm 24.11 requeues it",
)
def test_a_success_that_is_requeued_does_not_run_again(
    slurm: FakeSlurm, study: Study, observed: Callable[[str], None]
) -> None:
    study.write(CHAIN)
    slurm.fault("preempted", 5)
    run = study.start()
    run.until(lambda: "Submitted job 101: consumer" in run.text)
    # before anything is made of it
    assert slurm.state_of("100") == "CANCELLED"
    slurm.fault("preempted", None)
    run.succeed()
    assert study.lines("runs") == ["run"]
    assert study.lines("seen") == ["words"] * 6
    assert [slurm.state_of(job["id"]) for job in slurm.jobs()] == ["CANCELLED", "COMPLETED"]
    assert not list(study.folder.glob(".snakemake/submitit/batches/*"))
    observed("cancelled before it is reported as finished; its output stays, nothing stays queued")


def test_a_success_that_runs_again_ends_at_once(slurm: FakeSlurm, study: Study) -> None:
    """Where the controller did not come in between."""
    study.write(CHAIN)
    slurm.fault("preempted", 0)
    # the requeued job has started before the controller looks
    run = study.start("part", "--seconds-between-status-checks", "8")
    run.succeed()
    assert study.lines("runs") == ["run"]
    assert slurm.state_of("100") == "COMPLETED"
    assert len(slurm.calls("srun")) == 2


def test_no_query_more_for_jobs_that_leave(slurm: FakeSlurm, study: Study) -> None:
    study.write("""
        rule all:
            input: expand("o/{i}", i=range(12))
        rule one:
            output: "o/{i}"
            shell: "touch {output}"
    """)
    slurm.fault("preempted", 600)
    run = study.start("--jobs", "12")
    run.succeed()
    assert len(slurm.jobs()) == 12
    cancelled = [word for words in slurm.calls("scancel") for word in words if word[0] != "-"]
    # the fault is one of one job at a time where two end together
    assert len(cancelled) == len(set(cancelled)) >= 10
    assert len(slurm.calls("scancel")) < 8
    assert not slurm.calls("sacct")


@pytest.mark.slow
def test_nothing_is_said_of_a_throttle_at_the_start(slurm: FakeSlurm, study: Study) -> None:
    """The base class starts its thread before it is ready."""
    code = """
        import snakemake_interface_executor_plugins.executors.remote as remote, sys, time, runpy
        slow = remote.Throttler
        def throttler(*arguments, **options):
            time.sleep(3)
            return slow(*arguments, **options)
        remote.Throttler = throttler
        sys.argv[0] = "snakemake"
        from snakemake.cli import main
        main()
    """
    study.write('rule a:\n    output: "done"\n    shell: "touch {output}"\n')
    said = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), "--executor", "submitit", "--jobs", "2"],
        cwd=study.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "AttributeError" not in said.stdout + said.stderr
    assert len(slurm.jobs()) == 1
