"""SIGUSR2: to the process that handles it, then the job runs again."""

import os
import signal
from functools import partial

import psutil
import pytest

from fake_slurm import FakeSlurm
from study import Study

TRAINING = """
import pathlib, signal, sys, time

saved = pathlib.Path("saved")
if saved.exists():
    print("resumed")
    sys.exit()

def save(signum, frame):
    saved.touch()
    sys.exit(1)

signal.signal(signal.SIGUSR2, save)
with open("begun", "a") as file:
    print("begun", file=file)
time.sleep(600)
"""

SNAKEFILE = """
rule all:
    input: "a b/done"

rule train:
    output: "{what}/done"
    shell: "python training.py > training.txt && touch '{output}'"
"""


def _training(study: Study) -> None:
    study.write(SNAKEFILE)
    (study.folder / "training.py").write_text(TRAINING)


def _begun(study: Study, folder: str) -> bool:
    return bool(study.lines(f"{folder}/begun"))


def test_on_slurm(slurm: FakeSlurm, study: Study) -> None:
    _training(study)
    run = study.start("--submitit-keep-logs", "--submitit-logdir", "logs")
    run.until(lambda: bool(study.lines("begun")))
    (job,) = slurm.jobs()
    os.kill(slurm.step(job["id"]), signal.SIGUSR2)
    run.succeed()
    assert study.lines("training.txt") == ["resumed"]
    assert slurm.calls("scontrol").count(["requeue", job["id"]]) == 1
    assert len(slurm.calls("sbatch")) == 1
    # both runs of the job, one after the other
    log = (study.folder / f"logs/train/what=a_b/{job['id']}.log").read_text()
    assert log.count("SNAKEMAKE\n===") == 2
    assert job["options"]["comment"].startswith("train what=a b ")


def test_a_job_that_was_requeued_too_often_fails(slurm: FakeSlurm, study: Study) -> None:
    _training(study)
    run = study.start("--submitit-max-requeues", "0")
    run.until(lambda: bool(study.lines("begun")))
    (job,) = slurm.jobs()
    os.kill(slurm.step(job["id"]), signal.SIGUSR2)
    text = run.fail()
    assert "not requeued: this job was already requeued 0 times (--submitit-max-requeues)" in text
    assert ["requeue", job["id"]] not in slurm.calls("scontrol")


def test_a_requeue_whose_answer_is_lost(slurm: FakeSlurm, study: Study) -> None:
    """It leaves a failure as its result, and runs again all the same."""
    _training(study)
    slurm.fault("requeue", "Socket timed out on send/recv operation")
    run = study.start()
    run.until(lambda: bool(study.lines("begun")))
    (job,) = slurm.jobs()
    os.kill(slurm.step(job["id"]), signal.SIGUSR2)
    run.succeed()
    assert study.lines("training.txt") == ["resumed"]
    assert len(slurm.calls("sbatch")) == 1


def test_on_this_machine(study: Study) -> None:
    _training(study)
    run = study.start("--submitit-cluster", "local")
    run.until(lambda: bool(study.lines("begun")))
    controller = psutil.Process(int(run.submitted["train what=a b"]))
    (task,) = controller.children()
    task.send_signal(signal.SIGUSR2)
    run.succeed()
    assert study.lines("training.txt") == ["resumed"]
    assert study.lines("begun") == ["begun"]


@pytest.mark.slow
def test_killed_on_this_machine(study: Study) -> None:
    _training(study)
    study.write("""
        rule all:
            input: "task/done", "process/done"
        rule one:
            output: "{name}/done"
            shell: "cd {wildcards.name} && python ../training.py"
    """)
    run = study.start("--submitit-cluster", "local", "--keep-going")
    for name in ("task", "process"):
        run.until(partial(_begun, study, name))
    task, process = (
        psutil.Process(int(run.submitted[f"one name={name}"])) for name in ("task", "process")
    )
    for victim in [task, *task.children(recursive=True)]:
        victim.kill()
    (training,) = (
        child
        for child in process.children(recursive=True)
        if child.cmdline()[1:] == ["../training.py"]
    )
    training.kill()
    text = run.fail()
    assert f"Job {task.pid} (one name=task) failed: lost: the scheduler does not know it" in text
    assert f"Job {process.pid} (one name=process) failed: exit status 1" in text
