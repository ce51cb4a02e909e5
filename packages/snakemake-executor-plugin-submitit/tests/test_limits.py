"""Limits on how many jobs may be in the queue."""

import signal
from collections.abc import Callable

import pytest

from fake_slurm import FakeSlurm
from study import Study

FORTY = """
rule all:
    input: expand("o/{i}", i=range(40))

rule one:
    output: "o/{i}"
    shell: "touch {output}"
"""


@pytest.mark.fault(
    "more jobs than may be in the queue",
    area="cluster",
    provoked="40 jobs where MaxSubmitJobs is 15",
)
@pytest.mark.slow
def test_what_does_not_fit_waits(
    slurm: FakeSlurm, study: Study, observed: Callable[[str], None]
) -> None:
    study.write(FORTY)
    slurm.fault("MaxSubmitJobs", 15)
    # not one of the minutes for which a submission is tried while Slurm is away
    text = study.start("--jobs", "40", "--submitit-submit-patience", "0").succeed()
    assert "Not submitted" not in text
    assert text.count("Slurm takes no more jobs now") == 1
    assert "AssocMaxSubmitJobLimit" in text
    jobs = slurm.jobs()
    assert len(jobs) == 40
    assert {slurm.state_of(job["id"]) for job in jobs} == {"COMPLETED"}
    assert len(list(study.files("o/*"))) == 40
    assert not list(study.folder.glob(".snakemake/submitit/batches/*"))
    assert not list(study.folder.glob(".snakemake/submitit/controllers/*"))
    observed(
        "the array is split to what fits, the rest waits for room and says so once; all finish"
    )


def test_no_room_at_all_ends_with_an_interrupt(slurm: FakeSlurm, study: Study) -> None:
    study.write(FORTY)
    slurm.fault("hold", "Resources")
    slurm.fault("MaxSubmitJobs", 3)
    run = study.start("--jobs", "10")
    run.says("7 wait here and are submitted as others end")
    assert len(run.submitted) == 3
    tries = len(slurm.calls("sbatch"))
    run.until(lambda: len(slurm.calls("sbatch")) >= tries + 2)
    run.process.send_signal(signal.SIGINT)
    assert "Cancelled 3 jobs." in run.fail()
    assert {slurm.state_of(job["id"]) for job in slurm.jobs()} == {"CANCELLED"}
