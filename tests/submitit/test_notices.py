"""SIGUSR2: to the process that handles it, then the job runs again."""

import os
import signal

import psutil

from tests.submitit.fake_slurm import FakeSlurm
from tests.submitit.study import Study, wait_for

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
    log: "training.txt"
    shell: "python training.py > {log} && touch '{output}'"
"""


def _training(study: Study) -> None:
    study.write(SNAKEFILE)
    (study.folder / "training.py").write_text(TRAINING)


def test_on_slurm(slurm: FakeSlurm, study: Study) -> None:
    _training(study)
    run = study.start("--submitit-keep-logs", "--submitit-logdir", "logs")
    wait_for(lambda: bool(study.lines("begun")), lambda: run.text)
    (job,) = slurm.jobs()
    os.kill(slurm.step(job["id"]), signal.SIGUSR2)
    run.succeed()
    assert study.lines("training.txt") == ["resumed"]
    assert slurm.calls("scontrol").count(["requeue", job["id"]]) == 1
    assert len(slurm.calls("sbatch")) == 1
    # both runs of the job, one after the other
    log = (study.folder / f"logs/train/what=a_b/{job['id']}.log").read_text()
    assert log.count("rule train:") == 2
    assert job["options"]["comment"].startswith("train what=a b ")


def test_a_job_that_was_requeued_too_often_fails(slurm: FakeSlurm, study: Study) -> None:
    _training(study)
    run = study.start("--submitit-max-requeues", "0")
    wait_for(lambda: bool(study.lines("begun")), lambda: run.text)
    (job,) = slurm.jobs()
    os.kill(slurm.step(job["id"]), signal.SIGUSR2)
    text = run.fail()
    assert "not requeued: this job was already requeued 0 times (--submitit-max-requeues)" in text
    assert ["requeue", job["id"]] not in slurm.calls("scontrol")


def test_on_this_machine(study: Study) -> None:
    _training(study)
    run = study.start("--submitit-cluster", "local")
    wait_for(lambda: bool(study.lines("begun")), lambda: run.text)
    controller = psutil.Process(int(run.submitted["train what=a b"]))
    (task,) = controller.children()
    task.send_signal(signal.SIGUSR2)
    run.succeed()
    assert study.lines("training.txt") == ["resumed"]
    assert study.lines("begun") == ["begun"]


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
        wait_for(lambda name=name: bool(study.lines(f"{name}/begun")), lambda: run.text)  # type: ignore[misc]
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
