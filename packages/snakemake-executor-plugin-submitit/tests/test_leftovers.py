"""What finished runs leave, and the command that removes it."""

import time
from pathlib import Path

from fake_slurm import FakeSlurm
from snakemake_executor_plugin_submitit.__main__ import main
from snakemake_executor_plugin_submitit.journal import Submission
from snakemake_executor_plugin_submitit.leftovers import Leftovers
from study import Study

FAILS = """
rule all:
    input: "well", "badly"

rule one:
    output: "{name}"
    shell: "echo words; test {wildcards.name} = well; touch {output}"
"""


def _left(study: Study) -> list[str]:
    return sorted(path.name for path in study.folder.glob(".snakemake/submitit/*/*"))


def test_clean(slurm: FakeSlurm, study: Study) -> None:
    study.write(FAILS)
    study.start("--keep-going").fail()
    assert _left(study)
    assert main(["clean", str(study.folder)]) == 0
    assert _left(study) == []
    assert len(slurm.jobs()) == 2
    assert main(["clean", str(study.folder)]) == 0


def test_what_may_still_be_needed_stays(slurm: FakeSlurm, study: Study) -> None:
    study.write(FAILS)
    slurm.fault("hold", "Resources")
    run = study.start()
    run.says("Submitted job 100_1")
    before = _left(study)
    # while the controller lives, and while its jobs do
    assert main(["clean", str(study.folder)]) == 1
    run.process.kill()
    run.end()
    assert main(["clean", str(study.folder)]) == 0
    assert _left(study) == before
    for job in slurm.jobs():
        slurm.set_state(job["id"], "CANCELLED")
    assert main(["clean", str(study.folder)]) == 0
    assert _left(study) == []


def test_the_end_of_a_job_costs_the_same_however_many_there_are(tmp_path: Path) -> None:
    def seconds(count: int) -> float:
        leftovers = Leftovers(tmp_path / "logs", keep_logs=False)
        jobs = [
            Submission(
                job_id=f"{n}",
                cluster="slurm",
                folder=str(tmp_path / "batches" / f"{n // 100}"),
                key=f"{n}",
                fingerprint="f",
                title="t",
                logs=str(tmp_path / "logs" / "rule"),
            )
            for n in range(count)
        ]
        for job in jobs:
            leftovers.expect(job)
        begin = time.process_time()
        for job in jobs:
            leftovers.remove(job, succeeded=True)
        return (time.process_time() - begin) / count

    small = min(seconds(100) for _ in range(5))
    assert min(seconds(3000) for _ in range(3)) < 3 * small
