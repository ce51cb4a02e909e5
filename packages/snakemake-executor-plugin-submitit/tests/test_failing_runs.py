"""Jobs that Slurm ends, loses or never starts. They are held, so nothing of them runs."""

import re
import signal
from pathlib import Path

from fake_slurm import FakeSlurm
from study import Run, Study

NAMES = ("memory", "time", "node", "cancelled", "vanished", "stuck", "well")

SNAKEFILE = f"""
rule all:
    input: expand("out/{{name}}/done", name={NAMES})

rule one:
    output: "out/{{name}}/done"
    shell: "echo {{wildcards.name}} >> ran; touch {{output}}"
"""


def _held(slurm: FakeSlurm, study: Study) -> Run:
    study.write(SNAKEFILE)
    slurm.fault("hold", "Resources")
    run = study.start("--keep-going")
    run.until(lambda: len(run.submitted) == len(NAMES))
    return run


def test_every_end_is_reported(slurm: FakeSlurm, study: Study) -> None:
    run = _held(slurm, study)
    ids = {name: run.submitted[f"one name={name}"] for name in NAMES}
    assert len(slurm.calls("sbatch")) == 1
    slurm.fault("sacct", "Slurm accounting storage is disabled")
    slurm.fault("squeue", "Unable to contact slurm controller (connect failure)")
    run.says("jobs go on, their state is asked again")
    assert run.process.poll() is None
    slurm.fault("squeue", None)
    run.says("the scheduler answers again")

    slurm.set_state(ids["memory"], "OUT_OF_MEMORY", status=0x7D00)
    slurm.set_state(ids["time"], "TIMEOUT")
    slurm.set_state(ids["node"], "NODE_FAIL")
    slurm.set_state(ids["cancelled"], "CANCELLED", status=15)
    slurm.set_state(ids["stuck"], "PENDING", "PartitionTimeLimit")
    # the one that Snakemake is to see succeed leaves a result only when it runs
    slurm.set_state(ids["well"], "RUNNING")
    slurm.fault("forget", [ids["vanished"]])
    run.says("lost: the scheduler does not know it any more")
    run.until(lambda: run.text.count(") failed: ") == 6)
    assert run.process.poll() is None
    # squeue has forgotten the last one; accounting, which is back, has not
    slurm.fault("sacct", None)
    slurm.set_state(ids["well"], "FAILED", status=0x0100)

    text = run.fail()
    for name, reason in {
        "memory": "OUT_OF_MEMORY (exit 125:0)",
        "time": "TIMEOUT (exit 0:0)",
        "node": "NODE_FAIL",
        "cancelled": "CANCELLED (exit 0:15)",
        "stuck": "Slurm will not start it: PENDING (PartitionTimeLimit)",
        "vanished": "lost: the scheduler does not know it any more, and it left no result",
        "well": "FAILED (exit 1:0)",
    }.items():
        assert f"Job {ids[name]} (one name={name}) failed: {reason}" in text
        log = study.folder / f".snakemake/submitit/logs/one/name={name}/{ids[name]}.log"
        assert f"Log: {log}" in text
    assert slurm.state_of(ids["stuck"]) == "CANCELLED"
    assert not list(study.folder.glob(".snakemake/submitit/controllers/*"))
    assert not study.lines("ran")


def test_interrupt_cancels_all_while_a_query_hangs(slurm: FakeSlurm, study: Study) -> None:
    run = _held(slurm, study)
    slurm.fault("squeue-sleeps", 5)
    queries = len(slurm.calls("squeue"))
    run.until(lambda: len(slurm.calls("squeue")) > queries)
    run.process.send_signal(signal.SIGINT)
    text = run.fail()
    assert f"Cancelled {len(NAMES)} jobs." in text
    assert {slurm.state_of(job["id"]) for job in slurm.jobs()} == {"CANCELLED"}


def test_a_result_that_cannot_be_read_holds_up_no_other(slurm: FakeSlurm, study: Study) -> None:
    run = _held(slurm, study)
    ids = {name: run.submitted[f"one name={name}"] for name in NAMES}
    (folder,) = study.folder.glob(".snakemake/submitit/batches/*")
    (folder / f"{ids['memory']}_0_result.pkl").write_bytes(b"half")
    for name in NAMES[1:]:
        slurm.set_state(ids[name], "CANCELLED", status=15)
    run.until(lambda: run.text.count(") failed: CANCELLED") == len(NAMES) - 1)
    slurm.set_state(ids["memory"], "COMPLETED")
    assert "failed: COMPLETED (exit 0:0), but it left no result that can be read" in run.fail()


def test_a_log_that_has_no_place(slurm: FakeSlurm, study: Study) -> None:
    study.write("""
        rule a:
            output: "done"
            shell: "echo re''ason >&2; exit 3"
    """)
    (study.folder / "logs").touch()
    text = study.start("--submitit-logdir", "logs").fail()
    assert "    reason\n" in text
    (log,) = re.findall(r"^Log: (.*)$", text, re.MULTILINE)
    assert "reason" in Path(log).read_text()
    (job,) = slurm.jobs()
    assert job["id"] in log


def test_a_controller_that_is_away_when_the_run_begins(slurm: FakeSlurm, study: Study) -> None:
    study.write("""
        rule a:
            output: "done"
            shell: "touch {output}"
    """)
    slurm.fault("scontrol", [2, "slurm_load_ctl_conf error: Unable to contact slurm controller"])
    assert study.start().succeed().count("; next try in ") == 2


def test_a_refused_submission_fails_its_jobs_only(slurm: FakeSlurm, study: Study) -> None:
    study.write("""
        rule all:
            input: "one/bad", "two/bad", "malformed"
        rule bad:
            output: "{name}/bad"
            resources: slurm_partition="nowhere"
            shell: "touch {output}"
        rule malformed:
            output: "malformed"
            resources: slurm_extra="'--output=elsewhere'"
            shell: "touch {output}"
    """)
    refusal = "Batch job submission failed: Invalid partition name specified"
    slurm.fault("sbatch", [1, refusal])
    text = study.start("--keep-going").fail()
    assert text.count(f"Not submitted: sbatch: error: {refusal}") == 2
    assert "Not submitted: slurm_extra: --output would break" in text
    assert len(slurm.calls("sbatch")) == 1
    assert not list(study.folder.glob(".snakemake/submitit/controllers/*"))
