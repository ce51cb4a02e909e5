"""The cluster does what the tests of the executor rely on, and leaves nothing behind."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from .base import REPOSITORY, Cluster
from .machine import MEMORY_CGROUP, memory_is_constrained

Fresh = Callable[..., Cluster]

MINUTE = 60.0


def _ask(cluster: Cluster, *command: str) -> str:
    """What a command of Slurm says."""
    done = subprocess.run(
        cluster.enter(command),
        env=cluster.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def _submit(cluster: Cluster, script: str, *options: str) -> str:
    return _ask(cluster, "sbatch", "--parsable", "--output=/dev/null", *options, f"--wrap={script}")


def _field(cluster: Cluster, job: str, field: str) -> str:
    query = ("squeue", "--noheader", "--states=all", f"--jobs={job}", f"--Format={field}:30")
    return " ".join(_ask(cluster, *query).split())


def _eventually(expected: str, look: Callable[[], str], seconds: float = MINUTE) -> None:
    """Wait until ``look`` gives ``expected``, or fail with what it gives."""
    deadline = time.monotonic() + seconds
    while look() != expected and time.monotonic() < deadline:
        time.sleep(0.2)
    assert look() == expected


def _reaches(cluster: Cluster, job: str, state: str) -> None:
    _eventually(state, lambda: _field(cluster, job, "State"))


def _text(file: Path) -> str:
    return file.read_text().strip() if file.exists() else ""


def test_a_job_runs_and_sacct_knows_its_end(slurm: Cluster) -> None:
    job = _submit(slurm, "exit 3", "--job-name=three")

    _reaches(slurm, job, "FAILED")
    sacct = ("sacct", "-nPX", f"--jobs={job}", "--format=JobName,State,ExitCode")
    _eventually("three|FAILED|3:0", lambda: _ask(slurm, *sacct))


def test_an_array_runs_on_all_nodes(slurm: Cluster, tmp_path: Path) -> None:
    script = f"echo $SLURMD_NODENAME >{tmp_path}/$SLURM_ARRAY_TASK_ID; sleep 2"
    job = _submit(slurm, script, "--array=0-7")

    _reaches(slurm, job, " ".join(["COMPLETED"] * 8))
    nodes = [_text(tmp_path / str(index)) for index in range(8)]
    assert sorted(nodes) == sorted(slurm.nodes * 2)


def test_an_array_over_the_limit_is_refused(slurm: Cluster) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refusal:
        _submit(slurm, "true", "--array=0-201")

    assert "Invalid job array specification" in refusal.value.stderr


def test_without_accounting_only_the_controller_knows(
    slurm_without_accounting: Cluster,
) -> None:
    job = _submit(slurm_without_accounting, "exit 3")

    _reaches(slurm_without_accounting, job, "FAILED")
    with pytest.raises(subprocess.CalledProcessError) as refusal:
        _ask(slurm_without_accounting, "sacct", f"--jobs={job}")
    assert "accounting storage is disabled" in refusal.value.stderr


def test_memory_is_enforced(slurm: Cluster) -> None:
    hog = f"{slurm.python} -c 'import time; hog = bytes(1) * (400 << 20); time.sleep(60)'"
    job = _submit(slurm, hog, "--mem=100")

    _reaches(slurm, job, "OUT_OF_MEMORY" if memory_is_constrained() else "FAILED")


def test_a_gpu_is_numbered(slurm: Cluster, tmp_path: Path) -> None:
    script = f"echo $CUDA_VISIBLE_DEVICES >{tmp_path}/gpus"
    job = _submit(slurm, script, "--gres=gpu:tesla:2")

    _reaches(slurm, job, "COMPLETED")
    assert _text(tmp_path / "gpus") == "0,1"


def test_the_urgent_partition_preempts(slurm: Cluster, tmp_path: Path) -> None:
    """The step is asked to end, and after the grace the job is requeued and starts afresh."""
    step = f"trap 'echo TERM >>{tmp_path}/signals' TERM; while :; do sleep 0.1; done"
    script = f'echo start >>{tmp_path}/starts; [ "$SLURM_RESTART_COUNT" ] || srun bash -c "{step}"'
    job = _submit(slurm, script, "--nodes=4", "--exclusive", "--open-mode=append")
    _eventually("start", lambda: _text(tmp_path / "starts"))
    urgent = _submit(slurm, "true", "--partition=urgent", "--nodes=4", "--exclusive")

    _reaches(slurm, urgent, "COMPLETED")
    _reaches(slurm, job, "COMPLETED")
    assert set(_text(tmp_path / "signals").split()) == {"TERM"}
    # Slurm may start it between the nodes' coming free and the urgent job, and preempt it again
    restarts = int(_field(slurm, job, "RestartCnt"))
    assert restarts >= 1
    assert _text(tmp_path / "starts").split() == ["start"] * (1 + restarts)


def test_a_dead_node_is_noticed_and_comes_back(slurm: Cluster) -> None:
    node = slurm.nodes[-1]
    job = _submit(slurm, "sleep 300", f"--nodelist={node}", "--no-requeue")
    _reaches(slurm, job, "RUNNING")
    slurm.kill_slurmd(node)
    try:
        _reaches(slurm, job, "NODE_FAIL")
    finally:
        slurm.start_slurmd(node)
    after = _submit(slurm, "true", f"--nodelist={node}")
    _reaches(slurm, after, "COMPLETED")


def test_a_job_outlives_its_controller(slurm: Cluster, tmp_path: Path) -> None:
    job = _submit(slurm, f"until [ -e {tmp_path}/go ]; do sleep 0.1; done")
    _reaches(slurm, job, "RUNNING")
    slurm.stop_slurmctld()
    with pytest.raises(subprocess.CalledProcessError):
        _field(slurm, job, "State")
    slurm.start_slurmctld()
    (tmp_path / "go").touch()

    _reaches(slurm, job, "COMPLETED")


def test_accounting_learns_late_what_it_missed(slurm: Cluster) -> None:
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


def test_nothing_is_left(fresh_cluster: Fresh, tmp_path: Path) -> None:
    """Not even of a job that has put itself into a session of its own."""
    with fresh_cluster(accounting=True) as cluster:
        script = f"setsid --fork sleep 600; touch {tmp_path}/started; trap '' TERM; sleep 600"
        job = _submit(cluster, script)
        _eventually("RUNNING", lambda: _field(cluster, job, "State"))
        _eventually("True", lambda: str((tmp_path / "started").exists()))
        assert list(MEMORY_CGROUP.rglob(f"job_{job}")) or not memory_is_constrained()
        # eight daemons; of the job: its step's daemon, the script and two sleeps
        _eventually("True", lambda: str(len(cluster.processes()) >= 12))
        processes = cluster.processes()
    _eventually("", lambda: _gone(processes), 5)
    assert not cluster.folder.exists()
    assert not list(MEMORY_CGROUP.rglob(f"job_{job}"))


def test_what_a_killed_session_left_is_cleared(fresh_cluster: Fresh, by_hand: list[str]) -> None:
    script = "echo $CLUSTER_FOLDER; exec sleep 600"
    command = [*by_hand, "run", "--no-accounting", "--", "sh", "-c", script]
    with subprocess.Popen(
        command, cwd=REPOSITORY, start_new_session=True, stdout=subprocess.PIPE, text=True
    ) as session:
        assert session.stdout is not None
        folder = Path(session.stdout.readline().strip())
        os.killpg(session.pid, signal.SIGKILL)
    orphan = fresh_cluster(folder)
    processes = orphan.processes()
    # munged, slurmctld and four slurmd at least
    assert len(processes) >= 6

    with fresh_cluster(accounting=False):
        assert not orphan.folder.exists()
        assert not _gone(processes)


def test_run_ends_as_its_command_does(by_hand: list[str]) -> None:
    script = "echo $CLUSTER_FOLDER; exit 7"
    command = [*by_hand, "run", "--no-accounting", "--", "sh", "-c", script]
    ended = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=False)

    assert ended.returncode == 7
    assert Path(ended.stdout.strip()).is_absolute()
    assert not Path(ended.stdout.strip()).exists()


def test_a_folder_with_something_else_stays(tmp_path: Path, by_hand: list[str]) -> None:
    (tmp_path / "thesis").touch()
    command = [*by_hand, "down", "--folder", str(tmp_path)]
    refused = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)

    assert refused.returncode == 1
    assert "not a cluster's folder" in refused.stderr
    assert (tmp_path / "thesis").exists()
