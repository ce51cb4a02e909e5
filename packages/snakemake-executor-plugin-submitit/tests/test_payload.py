"""What runs on the node, in a process of its own as there."""

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from submitit.helpers import DelayedSubmission

from snakemake_executor_plugin_submitit.payload import JobCommand, _listeners, log_path
from study import wait_for

NODE = """
import os, pickle, signal, sys

job = pickle.loads(bytes.fromhex(sys.argv[1]))

def requeue(signum, frame):
    print("requeued", flush=True)
    os._exit(44)

signal.signal(signal.SIGUSR2, requeue)
job()
"""

LISTENER = (
    "import signal, sys, time\nsignal.signal(signal.SIGUSR2, lambda *_: sys.exit({status}))\n"
)


def _job(
    folder: Path,
    command: str,
    *,
    runtime: int = 3600,
    max_requeues: int = 10,
    requeue_at_limit: bool = True,
) -> JobCommand:
    return JobCommand(
        command=command,
        folder=str(folder),
        logs=str(folder / "logs/rule"),
        title="rule x=1",
        tag="tag7",
        runtime=runtime,
        notice=4,
        max_requeues=max_requeues,
        requeue_at_limit=requeue_at_limit,
    )


def _start(job: JobCommand) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", NODE, pickle.dumps(job).hex()],
        env=os.environ
        | {"SUBMITIT_EXECUTOR": "local", "SUBMITIT_LOCAL_JOB_ID": "7", "SLURM_CLUSTER_NAME": ""}
        | {"SUBMITIT_FOLDER": job.folder},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _log(folder: Path) -> str:
    return log_path(str(folder / "logs/rule"), "7").read_text()


def test_a_command_that_succeeds(tmp_path: Path) -> None:
    node = _start(_job(tmp_path, "pwd; echo words >&2; command -v python"))
    said, _ = node.communicate()
    assert (node.returncode, said) == (0, "")
    python = Path(sys.executable).parent / "python"
    assert _log(tmp_path).splitlines() == [str(tmp_path), "words", str(python)]


@pytest.mark.parametrize(
    ("command", "reason"),
    [("exit 3", "exit status 3"), ("kill -9 $$", "ended by SIGKILL")],
)
def test_a_command_that_fails(tmp_path: Path, command: str, reason: str) -> None:
    node = _start(_job(tmp_path, command))
    said, _ = node.communicate()
    assert node.returncode == 1
    assert said.strip().endswith(f"CommandError: {reason}")


@pytest.mark.fault(
    "an srun in a rule's command, under task/affinity",
    area="cluster",
    provoked="SLURM_CPU_BIND in the environment of the step that runs Snakemake",
)
def test_an_inner_srun_is_not_bound_to_the_cores_of_this_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, observed: Callable[[str], None]
) -> None:
    """As task/affinity sets them; the second one tells and asks for nothing."""
    monkeypatch.setenv("SLURM_CPU_BIND", "quiet,mask_cpu:0x1")
    monkeypatch.setenv("SLURM_CPU_BIND_LIST", "0x1")
    monkeypatch.setenv("SLURM_MEM_BIND", "quiet,none")
    node = _start(_job(tmp_path, "env | grep _BIND"))
    node.communicate()
    assert _log(tmp_path).splitlines() == ["SLURM_CPU_BIND_LIST=0x1"]
    observed("the rule's command does not inherit it, and gets the cores of its own nodes")


def test_a_success_on_record_is_the_end(tmp_path: Path) -> None:
    result = tmp_path / "7_0_result.pkl"
    result.write_bytes(pickle.dumps(("success", None)))
    node = _start(_job(tmp_path, "touch ran"))
    said, _ = node.communicate()
    assert (node.returncode, said) == (0, "this job has succeeded before; it does not run again\n")
    assert [path.name for path in tmp_path.iterdir()] == [result.name]


def test_a_failure_on_record_is_not(tmp_path: Path) -> None:
    (tmp_path / "7_0_result.pkl").write_bytes(pickle.dumps(("error", "Traceback")))
    assert _start(_job(tmp_path, "touch ran")).wait() == 0
    assert (tmp_path / "ran").exists()


def test_what_an_earlier_run_of_the_job_left_is_no_result(tmp_path: Path) -> None:
    result = tmp_path / "7_0_result.pkl"
    result.touch()
    node = _start(_job(tmp_path, f"test ! -e '{result}'"))
    said, _ = node.communicate()
    assert (node.returncode, said) == (0, "")


def test_a_log_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "logs").touch()
    node = _start(_job(tmp_path, "echo words"))
    said, _ = node.communicate()
    assert node.returncode == 0
    assert said.splitlines()[0].startswith("the log cannot be opened, its text follows here: ")
    assert said.splitlines()[1] == "words"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which Linux has")
def test_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "logs/rule").mkdir(parents=True)
    log_path(str(tmp_path / "logs/rule"), "7").symlink_to("/dev/full")
    node = _start(_job(tmp_path, "echo words"))
    said, _ = node.communicate()
    assert node.returncode == 0
    assert "the log cannot be written, its text follows here: " in said
    assert said.splitlines()[-1] == "words"


def _noticed(tmp_path: Path, command: str, **options: Any) -> subprocess.Popen[str]:
    node = _start(_job(tmp_path, command, **options))
    wait_for((tmp_path / "ready").exists, lambda: "the command did not begin")
    wait_for(
        lambda: node.pid in {process.pid for process in _listeners(node.pid)},
        lambda: "it does not listen",
    )
    node.send_signal(signal.SIGUSR2)
    return node


def _listener(tmp_path: Path, *, status: int) -> str:
    text = LISTENER.format(status=status) + "open('ready', 'w').close()\ntime.sleep(600)\n"
    (tmp_path / "listener.py").write_text(text)
    return "(sleep 0; python listener.py)"


def test_a_notice_reaches_who_listens_and_the_job_is_requeued(tmp_path: Path) -> None:
    node = _noticed(tmp_path, _listener(tmp_path, status=1))
    said, _ = node.communicate()
    assert node.returncode == 44
    assert said.startswith("notice: SIGUSR2 to process ")
    assert said.splitlines()[-1] == "requeued"


def test_a_listener_that_ends_its_work_in_time(tmp_path: Path) -> None:
    node = _noticed(tmp_path, _listener(tmp_path, status=0))
    said, _ = node.communicate()
    assert node.returncode == 0, said
    assert "requeued" not in said


def test_preempted_without_a_listener(tmp_path: Path) -> None:
    node = _noticed(tmp_path, "touch ready; sleep 600")
    said, _ = node.communicate()
    assert (node.returncode, said) == (44, "requeued\n")


def test_the_time_limit_without_a_listener(tmp_path: Path) -> None:
    go = tmp_path / "go"
    node = _noticed(tmp_path, "touch ready; until test -e go; do sleep 0.1; done", runtime=60)
    assert node.stdout is not None
    said = node.stdout.readline()
    assert said.startswith("time limit ahead; this job saves no work")
    go.touch()
    assert node.wait() == 0


@pytest.mark.parametrize("python", ["java", "python"])
def test_the_time_limit_with_a_listener_that_saves_nothing(tmp_path: Path, python: str) -> None:
    """As Java's, which handles the signal for ends of its own; or a job that must not run again."""
    (tmp_path / "java").symlink_to(sys.executable)
    code = f"import time\n{LISTENER.format(status=1)}open('ready', 'w').close()\n"
    code += "while not __import__('os').path.exists('go'): time.sleep(0.1)\n"
    (tmp_path / "work.py").write_text(code)
    node = _noticed(
        tmp_path,
        f"PATH=.:$PATH {python} work.py",
        runtime=60,
        requeue_at_limit=python == "java",
    )
    assert node.stdout is not None
    assert node.stdout.readline().startswith("time limit ahead; this job saves no work")
    (tmp_path / "go").touch()
    assert node.wait() == 0


def test_termination_leaves_no_result_of_a_failure(tmp_path: Path) -> None:
    """Slurm knows why; a failure of the payload's own would hide it."""
    node = _start(_job(tmp_path, _listener(tmp_path, status=1)))
    wait_for((tmp_path / "ready").exists, lambda: "the command did not begin")
    node.terminate()
    wait_for(lambda: not _running(tmp_path), lambda: "the listener goes on")
    time.sleep(0.5)
    assert node.poll() is None
    node.kill()
    assert "CommandError" not in node.communicate()[0]


def _running(tmp_path: Path) -> bool:
    return any(
        process.info["cwd"] == str(tmp_path) and "listener.py" in (process.info["cmdline"] or [])
        for process in psutil.process_iter(["cwd", "cmdline"])
    )


def test_checkpoint_counts(tmp_path: Path) -> None:
    job = _job(tmp_path, "true", max_requeues=2)
    for count in (1, 2):
        delayed = job.checkpoint()
        assert isinstance(delayed, DelayedSubmission)
        assert job.requeues == count
    with pytest.raises(RuntimeError, match="already requeued 2 times"):
        job.checkpoint()


def test_the_module_is_light() -> None:
    code = (
        "import sys, snakemake_executor_plugin_submitit.payload; print('snakemake' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert said.stdout.strip() == "False"
