"""The cluster does what the tests of the executor rely on, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from .cluster import NODES, SlurmCluster
from .machine import MEMORY_CGROUP, memory_is_constrained

COMMAND = (sys.executable, "-m", "tests.slurm")
ROOT = Path(__file__).parents[2]

MINUTE = 60.0


def _ask(cluster: SlurmCluster, *command: str) -> str:
    """What a command of Slurm says."""
    done = subprocess.run(
        command, env=cluster.environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _submit(cluster: SlurmCluster, script: str, *options: str) -> str:
    return _ask(cluster, "sbatch", "--parsable", "--output=/dev/null", *options, f"--wrap={script}")


def _field(cluster: SlurmCluster, job: str, field: str) -> str:
    query = ("squeue", "--noheader", "--states=all", f"--jobs={job}", f"--Format={field}:30")
    return " ".join(_ask(cluster, *query).split())


def _eventually(expected: str, look: Callable[[], str], seconds: float = MINUTE) -> None:
    """Wait until ``look`` gives ``expected``, or fail with what it gives."""
    deadline = time.monotonic() + seconds
    while look() != expected and time.monotonic() < deadline:
        time.sleep(0.2)
    assert look() == expected


def _reaches(cluster: SlurmCluster, job: str, state: str) -> None:
    _eventually(state, lambda: _field(cluster, job, "State"))


def _text(file: Path) -> str:
    return file.read_text().strip() if file.exists() else ""


def test_a_job_runs_and_sacct_knows_its_end(slurm: SlurmCluster) -> None:
    job = _submit(slurm, "exit 3", "--job-name=three")

    _reaches(slurm, job, "FAILED")
    sacct = ("sacct", "-nPX", f"--jobs={job}", "--format=JobName,State,ExitCode")
    _eventually("three|FAILED|3:0", lambda: _ask(slurm, *sacct))


def test_an_array_runs_on_all_nodes(slurm: SlurmCluster, tmp_path: Path) -> None:
    script = f"echo $SLURMD_NODENAME >{tmp_path}/$SLURM_ARRAY_TASK_ID; sleep 2"
    job = _submit(slurm, script, "--array=0-7")

    _reaches(slurm, job, " ".join(["COMPLETED"] * 8))
    nodes = [_text(tmp_path / str(index)) for index in range(8)]
    assert sorted(nodes) == sorted(NODES * 2)


def test_an_array_over_the_limit_is_refused(slurm: SlurmCluster) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refusal:
        _submit(slurm, "true", "--array=0-201")

    assert "Invalid job array specification" in refusal.value.stderr


def test_without_accounting_only_the_controller_knows(
    slurm_without_accounting: SlurmCluster,
) -> None:
    job = _submit(slurm_without_accounting, "exit 3")

    _reaches(slurm_without_accounting, job, "FAILED")
    with pytest.raises(subprocess.CalledProcessError) as refusal:
        _ask(slurm_without_accounting, "sacct", f"--jobs={job}")
    assert "accounting storage is disabled" in refusal.value.stderr


def test_memory_is_enforced(slurm: SlurmCluster) -> None:
    hog = f"{sys.executable} -c 'import time; hog = bytes(1) * (400 << 20); time.sleep(60)'"
    job = _submit(slurm, hog, "--mem=100")

    _reaches(slurm, job, "OUT_OF_MEMORY" if memory_is_constrained() else "FAILED")


def test_a_gpu_is_numbered(slurm: SlurmCluster, tmp_path: Path) -> None:
    script = f"echo $CUDA_VISIBLE_DEVICES >{tmp_path}/gpus"
    job = _submit(slurm, script, "--gres=gpu:tesla:2")

    _reaches(slurm, job, "COMPLETED")
    assert _text(tmp_path / "gpus") == "0,1"


def test_the_urgent_partition_preempts(slurm: SlurmCluster, tmp_path: Path) -> None:
    """The step is asked to end, and after the grace the job is requeued and starts afresh."""
    step = f"trap 'echo TERM >>{tmp_path}/signals' TERM; while :; do sleep 0.1; done"
    script = f'echo start >>{tmp_path}/starts; [ "$SLURM_RESTART_COUNT" ] || srun bash -c "{step}"'
    job = _submit(slurm, script, "--nodes=4", "--exclusive", "--open-mode=append")
    _eventually("start", lambda: _text(tmp_path / "starts"))
    urgent = _submit(slurm, "true", "--partition=urgent", "--nodes=4", "--exclusive")

    _reaches(slurm, urgent, "COMPLETED")
    _reaches(slurm, job, "COMPLETED")
    assert set(_text(tmp_path / "signals").split()) == {"TERM"}
    assert _text(tmp_path / "starts").split() == ["start", "start"]
    assert _field(slurm, job, "RestartCnt") == "1"


def test_a_dead_node_is_noticed_and_comes_back(slurm: SlurmCluster) -> None:
    job = _submit(slurm, "sleep 300", "--nodelist=n4", "--no-requeue")
    _reaches(slurm, job, "RUNNING")
    slurm.kill_slurmd("n4")
    try:
        _reaches(slurm, job, "NODE_FAIL")
    finally:
        slurm.start_slurmd("n4")
    after = _submit(slurm, "true", "--nodelist=n4")
    _reaches(slurm, after, "COMPLETED")


def test_a_job_outlives_its_controller(slurm: SlurmCluster, tmp_path: Path) -> None:
    job = _submit(slurm, f"until [ -e {tmp_path}/go ]; do sleep 0.1; done")
    _reaches(slurm, job, "RUNNING")
    slurm.stop_slurmctld()
    with pytest.raises(subprocess.CalledProcessError):
        _field(slurm, job, "State")
    slurm.start_slurmctld()
    (tmp_path / "go").touch()

    _reaches(slurm, job, "COMPLETED")


def test_accounting_learns_late_what_it_missed(slurm: SlurmCluster) -> None:
    sacct = ("sacct", "-nPX", "--format=State")
    slurm.stop_slurmdbd()
    try:
        job = _submit(slurm, "true")
        _reaches(slurm, job, "COMPLETED")
        with pytest.raises(subprocess.CalledProcessError):
            _ask(slurm, *sacct, f"--jobs={job}")
    finally:
        slurm.start_slurmdbd()
    _eventually("COMPLETED", lambda: _ask(slurm, *sacct, f"--jobs={job}"))


def _gone(processes: list[psutil.Process]) -> str:
    """The processes that are still there."""
    return " ".join(str(process.pid) for process in processes if process.is_running())


def test_nothing_is_left(tmp_path: Path) -> None:
    """Not even of a job that has put itself into a session of its own."""
    with SlurmCluster() as cluster:
        script = f"setsid --fork sleep 600; touch {tmp_path}/started; trap '' TERM; sleep 600"
        job = _submit(cluster, script)
        _eventually("RUNNING", lambda: _field(cluster, job, "State"))
        _eventually("True", lambda: str((tmp_path / "started").exists()))
        # eight daemons; of the job: its step's daemon, the script and two sleeps
        _eventually("True", lambda: str(len(cluster.processes()) >= 12))
        processes = cluster.processes()
    _eventually("", lambda: _gone(processes), 5)
    assert not cluster.folder.exists()
    assert not list(MEMORY_CGROUP.glob(f"slurm_n*/uid_0/job_{job}"))


def test_what_a_killed_session_left_is_cleared(tmp_path: Path) -> None:
    note = (
        f"echo $SLURM_CONF >{tmp_path}/conf.new; mv {tmp_path}/conf.new {tmp_path}/conf; sleep 600"
    )
    command = [*COMMAND, "run", "--no-accounting", "--", "sh", "-c", note]
    with subprocess.Popen(command, cwd=ROOT, start_new_session=True) as session:
        _eventually("True", lambda: str((tmp_path / "conf").exists()))
        os.killpg(session.pid, signal.SIGKILL)
    orphan = SlurmCluster(Path(_text(tmp_path / "conf")).parent)
    processes = orphan.processes()
    assert len(processes) == 6

    with SlurmCluster(accounting=False):
        assert not orphan.folder.exists()
        assert not _gone(processes)


def test_run_ends_as_its_command_does(tmp_path: Path) -> None:
    script = f"dirname $SLURM_CONF >{tmp_path}/folder; exit 7"
    command = [*COMMAND, "run", "--no-accounting", "--", "sh", "-c", script]

    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 7
    assert not Path(_text(tmp_path / "folder")).exists()


def test_a_folder_with_something_else_stays(tmp_path: Path) -> None:
    (tmp_path / "thesis").touch()
    command = [*COMMAND, "down", "--folder", str(tmp_path)]
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert refused.returncode == 1
    assert "not a cluster's folder" in refused.stderr
    assert (tmp_path / "thesis").exists()
