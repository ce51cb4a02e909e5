"""What `kdlm status` says of a study, while its jobs run, after they fail, and of broken files."""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kdlm.cli import main
from kdlm.figures import FIGURES
from kdlm.status.signs import holder, read_log, saved_epoch
from kdlm.status.study import QUIET, JobState, read_status
from kdlm.study.config import Study, parse, read_study
from kdlm.study.jobs import Job, student_jobs, teacher_jobs

Observed = Callable[[str], None]

EPOCHS = 100_000
"""More than any test waits for."""


def found(folder: Path) -> dict[str, JobState]:
    """The state of every job, by name."""
    return {job.name: job for part in read_status(read_study(folder), folder) for job in part.jobs}


def printed(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    capsys.readouterr()
    assert main(["status", str(folder), *options]) == 0
    return capsys.readouterr().out


@pytest.fixture
def long(config: dict[str, Any]) -> Study:
    """A study with a second teacher, which trains for as long as a test needs."""
    config["recipes"]["long"] = config["recipes"]["short"] | {"epochs": EPOCHS}
    config["teachers"].append(config["teachers"][0] | {"recipe": "long"})
    return parse(config)


@pytest.fixture
def folder(tmp_path: Path, long: Study, finished: Path) -> Path:
    """The folder of that study, of which nothing but a dataset is there."""
    made = tmp_path / "results/tiny"
    (made / "data").mkdir(parents=True)
    shutil.copy(finished / "results/tiny/data/digits.safetensors", made / "data")
    (made / "study.json").write_text(long.canonical_json())
    return made


def log_of(folder: Path, job: Job[Any]) -> Path:
    log = folder / "logs" / job.folder.with_name(f"{job.folder.name}.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    return log


def start(folder: Path, job: Job[Any]) -> subprocess.Popen[bytes]:
    """Train as the rule does."""
    with log_of(folder, job).open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "kdlm", "train-teacher", "--spec", job.spec.canonical_json(),
             "--data", folder / "data/digits.safetensors", "--output", folder / job.folder,
             "--checkpoint", folder / "checkpoints" / job.folder / "checkpoint.safetensors",
             "--checkpoint-epochs", "2", "--checkpoint-minutes", "1000"],
            stderr=log,
        )  # fmt: skip


def until(check: Callable[[], Any], seconds: float = 900) -> Any:
    end = time.monotonic() + seconds
    while not (result := check()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return result


@pytest.fixture
def training(folder: Path, long: Study) -> Iterator[subprocess.Popen[bytes]]:
    """A training of the long teacher that has done some epochs."""
    job = teacher_jobs(long)[1]
    process = start(folder, job)
    try:
        until(lambda: (log := read_log(log_of(folder, job))) and log.epoch and log.epoch.number > 4)
        yield process
    finally:
        process.kill()
        process.wait()


LONG = "teacher resnet8 he long seed=0"
SHORT = "teacher resnet8 he short seed=0"


@pytest.mark.fault(
    "a training killed while its state is asked for",
    area="training",
    provoked="kill -9 on a training that has done some epochs; `kdlm status` before and after",
)
def test_a_training_that_runs_and_is_killed(
    folder: Path,
    training: subprocess.Popen[bytes],
    capsys: pytest.CaptureFixture[str],
    observed: Observed,
) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.json")}
    running = found(folder)[LONG]
    assert (running.state, running.host) == ("running", socket.gethostname())
    assert running.epoch is not None
    assert running.epoch > 4
    assert running.epochs == EPOCHS
    assert 0 <= (running.accuracy or -1) <= 1
    assert running.seconds_an_epoch is not None
    assert running.seconds_left is not None
    expected = running.seconds_an_epoch * (EPOCHS - running.epoch)
    assert running.seconds_left == pytest.approx(expected, rel=0.1)
    assert f"{running.accuracy:.4f}" in printed(folder, capsys)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.json")} == before

    training.send_signal(signal.SIGKILL)
    training.wait()
    killed = found(folder)[LONG]
    assert killed.state == "stopped"
    assert killed.reason == "it ended without a word, as after a kill"
    assert killed.checkpoint is not None
    epoch, batches = killed.checkpoint
    assert (killed.epoch or 0) - 2 <= epoch <= (killed.epoch or 0) + 1
    assert batches == 0
    assert f"goes on from epoch {epoch}, 0 batches" in printed(folder, capsys)
    observed(
        "running with its epoch, accuracy, speed and time left; then stopped, with the epoch that "
        "it goes on from"
    )


def test_a_training_that_was_asked_to_stop_says_so(
    folder: Path, training: subprocess.Popen[bytes]
) -> None:
    training.send_signal(signal.SIGTERM)
    training.wait()
    stopped = found(folder)[LONG]
    assert stopped.state == "stopped"
    assert stopped.reason.startswith("SIGTERM: stopped in epoch ")


def test_a_job_that_failed_gives_its_reason(
    folder: Path, long: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    job = teacher_jobs(long)[0]
    (folder / "data/digits.safetensors").unlink()
    assert start(folder, job).wait() == 1
    failed = found(folder)[SHORT]
    assert failed.state == "failed"
    assert "digits.safetensors is missing" in failed.reason
    assert failed.log == log_of(folder, job).relative_to(folder).as_posix()
    text = printed(folder, capsys)
    assert f"failed: {SHORT}" in text
    assert failed.reason in text


def test_a_finished_study_is_done(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = finished / "results/tiny"
    states = found(folder)
    assert {job.state for job in states.values()} == {"done"}
    assert not any(job.diverged for job in states.values())
    text = json.loads(printed(folder, capsys, "--format", "json"))
    assert sum(len(part["jobs"]) for part in text["parts"]) == len(states)
    # one job of each rule but resolve
    assert len(states) == 2 + 1 + 2 + 11 + 4 + 4 + 1 + len(FIGURES) + 1
    # the Snakemake that made it has ended
    assert text["controller"]["alive"] is False


def test_jobs_are_counted_by_arm_and_once(finished: Path) -> None:
    study = read_study(finished / "results/tiny")
    arms = [
        part
        for part in read_status(study, finished / "results/tiny")
        if part.name.startswith("arms")
    ]
    assert [len(part.jobs) for part in arms] == [8, 3]
    assert sum(len(part.jobs) for part in arms) == len(list(student_jobs(study)))


def test_what_diverged_is_done_and_counted(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(finished / "results/tiny", tmp_path / "tiny")
    run = next(folder.glob("students/**/run.json"))
    run.write_text(json.dumps(json.loads(run.read_text()) | {"diverged": {"epoch": 1}}))
    assert sum(job.diverged for job in found(folder).values()) == 1
    assert "1 of those done diverged" in printed(folder, capsys)


@pytest.mark.parametrize(("age", "state"), [(60, "running"), (QUIET + 60, "stopped")])
def test_a_job_on_another_machine_is_known_by_its_signs_of_life(
    folder: Path, long: Study, age: float, state: str
) -> None:
    job = teacher_jobs(long)[1]
    (folder / job.folder).mkdir(parents=True)
    (folder / job.folder / ".lock").write_text("process 17 on node-4\n")
    line = "epoch {}/1000  objective 0.5  train accuracy 0.5000  test accuracy 0.2500\n"
    log = log_of(folder, job)
    log.write_text(line.format(1) + line.format(10))
    then = time.time() - age
    os.utime(log, (then, then))
    os.utime(folder / job.folder / ".lock", (then - 50, then - 50))
    seen = found(folder)[LONG]
    assert (seen.state, seen.host, seen.epoch) == (state, "node-4", 10)
    assert seen.seconds_an_epoch == pytest.approx(5, abs=0.1)
    assert seen.accuracy == 0.25


def test_the_speed_counts_from_the_epoch_that_was_resumed(folder: Path, long: Study) -> None:
    job = teacher_jobs(long)[1]
    (folder / job.folder).mkdir(parents=True)
    lock = folder / job.folder / ".lock"
    lock.write_text("process 17 on node-4\n")
    log = log_of(folder, job)
    log.write_text(
        "resumed from checkpoints/x.safetensors (epoch 91, 3 batches of it done)\n"
        "epoch 100/1000  objective 0.5  train accuracy 0.5000  test accuracy 0.2500\n"
    )
    os.utime(lock, (log.stat().st_mtime - 100,) * 2)
    assert found(folder)[LONG].seconds_an_epoch == pytest.approx(10, abs=0.1)


def test_no_lock_is_ever_tried_for(
    folder: Path, training: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test of a lock would take it for a moment, and another process could be refused then."""

    def refuse(*_: Any) -> None:
        raise AssertionError("a lock was tried for")

    for name in ("flock", "lockf", "fcntl"):
        monkeypatch.setattr(fcntl, name, refuse)
    assert found(folder)[LONG].state == "running"
    assert training.poll() is None
    assert holder(folder) is None


HOSTILE = [
    b"", b"\xff\xfe" * 100, b"\0" * 70_000, b"epoch 9999999999999/1  objective", b"x" * 1_000_000,
    b"epoch 1/2  objective 1  train accuracy 1  test accuracy 9.9.9\n",
    b"\x1b[2J\x1b[31mkdlm: \x1b]0;title\x07gone\n", b"Traceback (most recent call last):\n",
    (2**62).to_bytes(8, "little") + b"{}", (2).to_bytes(8, "little") + b"[]",
    (40).to_bytes(8, "little") + b'{"__metadata__": {"kdlm.checkpoint": 1}}',
    b"process 99999999999999999999 on h\n", b"process 1 on " + b"\x1b[31m" * 50,
]  # fmt: skip


@pytest.mark.fault(
    "a study's folder that a stranger has filled",
    area="hostile input",
    provoked="logs, locks, checkpoints and run.json of random bytes, escapes of the terminal, "
    "wrong lengths; pipes, folders and loops of links in their places",
)
@pytest.mark.parametrize("content", HOSTILE)
def test_hostile_files_are_reported_and_not_obeyed(
    folder: Path,
    long: Study,
    content: bytes,
    capsys: pytest.CaptureFixture[str],
    observed: Observed,
) -> None:
    for job in teacher_jobs(long):
        for path in (
            log_of(folder, job),
            folder / job.folder / ".lock",
            folder / job.folder / "run.json",
            folder / "checkpoints" / job.folder / "checkpoint.safetensors",
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    (folder / ".lock").write_bytes(content)
    text = printed(folder, capsys)
    assert "\x1b" not in text
    assert "\x07" not in text
    json.loads(printed(folder, capsys, "--format", "json"))
    observed("status 0, and no escape reaches the terminal")


@pytest.mark.parametrize("kind", ["pipe", "folder", "loop", "nothing to read"])
def test_what_is_no_file_is_passed_over(
    folder: Path, long: Study, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    job = teacher_jobs(long)[1]
    for path in (
        log_of(folder, job),
        folder / job.folder / ".lock",
        folder / "checkpoints" / job.folder / "checkpoint.safetensors",
        folder / ".lock",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        elif kind == "loop":
            path.symlink_to(path.name)
        else:
            path.symlink_to("/proc/self/mem")
    assert "missing" in printed(folder, capsys)


def test_a_file_that_is_half_written_is_no_checkpoint(tmp_path: Path) -> None:
    kept = json.dumps({"__metadata__": {"kdlm.checkpoint": json.dumps({"epoch": 3, "batch": 1})}})
    whole = len(kept).to_bytes(8, "little") + kept.encode()
    path = tmp_path / "checkpoint.safetensors"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert saved_epoch(path) is None
    path.write_bytes(whole)
    assert saved_epoch(path) == (3, 1)


def test_a_folder_without_a_study_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", str(tmp_path)]) == 1
    assert "study.json is missing" in capsys.readouterr().err


def test_it_fits_a_narrow_terminal(
    finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = printed(finished / "results/tiny", capsys).splitlines()[3:]
    assert max(len(line) for line in lines) <= 80
    assert any(line.split() == ["all", "35", "35"] for line in lines)


def test_it_answers_without_torch(finished: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "kdlm", "status", "results/tiny"],
        cwd=finished, capture_output=True, text=True, check=True,
    )  # fmt: skip
    imported = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines()}
    assert "kdlm.status.study" in imported
    assert not imported & {"torch", "pandas", "pyarrow", "numpy", "snakemake", "yaml"}
