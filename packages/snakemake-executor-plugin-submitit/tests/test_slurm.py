"""Slurm's answers, and what is asked of it."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fake_slurm import FakeSlurm
from snakemake_executor_plugin_submitit import slurm as module
from snakemake_executor_plugin_submitit.cluster import Phase, State, SubmissionError
from snakemake_executor_plugin_submitit.payload import JobCommand
from snakemake_executor_plugin_submitit.resources import request
from snakemake_executor_plugin_submitit.slurm import (
    Slurm,
    _parse_sacct,
    _parse_squeue,
    command,
)
from snakemake_executor_plugin_submitit.words import TRANSIENT

BUSY = "Batch job submission failed: Unable to contact slurm controller (connect failure)"


@pytest.fixture
def cluster() -> Slurm:
    return Slurm(setup=["module load x"], parallelism=None, patience=60)


class _Clock:
    """Time that passes while somebody waits, and no other."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *clusters: Slurm) -> None:
        self.slept: list[float] = []
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: sum(self.slept)))
        for cluster in clusters:
            monkeypatch.setattr(cluster._stopped, "wait", self.slept.append)


def _command(tmp_path: Path, title: str = "rule x=1") -> JobCommand:
    return JobCommand(
        command="true",
        folder=str(tmp_path),
        logs=str(tmp_path / "logs"),
        title=title,
        tag="tag7",
        runtime=3600,
        notice=90,
        max_requeues=1,
        requeue_at_limit=True,
    )


def _submit(cluster: Slurm, tmp_path: Path, count: int = 1, **resources: Any) -> list[str]:
    folder = tmp_path / "batch"
    folder.mkdir()
    commands = [_command(tmp_path, f"rule x={n}") for n in range(count)]
    return cluster.submit(folder, request(2, resources), "rule", "tag7", commands)


# parsing


def _row(job: str, state: str, reason: str = "None", status: str = "0") -> str:
    return f"{job:<40}{state:<20}{reason:<60}{status:<12}"


@pytest.mark.parametrize(
    ("row", "state"),
    [
        (("5", "PENDING", "Priority"), State(Phase.ALIVE, "PENDING", "Priority")),
        (("5", "RUNNING"), State(Phase.ALIVE, "RUNNING")),
        (("5", "COMPLETING"), State(Phase.ALIVE, "COMPLETING")),
        (("5", "SUSPENDED"), State(Phase.ALIVE, "SUSPENDED")),
        (("5", "PREEMPTED"), State(Phase.ENDED, "PREEMPTED", "exit 0:0")),
        (("5", "REQUEUED"), State(Phase.ALIVE, "REQUEUED")),
        (("5", "COMPLETED"), State(Phase.ENDED, "COMPLETED", "exit 0:0")),
        (("5", "FAILED", "NonZeroExitCode", "256"), State(Phase.ENDED, "FAILED", "exit 1:0")),
        (("5", "FAILED", "None", "9"), State(Phase.ENDED, "FAILED", "exit 0:9")),
        (("5", "TIMEOUT", "TimeLimit", "N/A"), State(Phase.ENDED, "TIMEOUT")),
        (("5", "OUT_OF_MEMORY"), State(Phase.ENDED, "OUT_OF_MEMORY", "exit 0:0")),
        (("5", "NODE_FAIL"), State(Phase.ENDED, "NODE_FAIL", "exit 0:0")),
        (("5", "PENDING", "InvalidQOS"), State(Phase.STUCK, "PENDING", "InvalidQOS")),
        (("5", "PENDING", "QOSMaxWallDurationPerJobLimit"),
         State(Phase.STUCK, "PENDING", "QOSMaxWallDurationPerJobLimit")),
        (("5", "PENDING", "QOSMaxJobsPerUserLimit"),
         State(Phase.ALIVE, "PENDING", "QOSMaxJobsPerUserLimit")),
        (("5", "PENDING", "launch failed requeued held"),
         State(Phase.STUCK, "PENDING", "launch failed requeued held")),
        (("5", "PENDING", "BadConstraints"), State(Phase.STUCK, "PENDING", "BadConstraints")),
        (("5", "RUNNING", "BadConstraints"), State(Phase.ALIVE, "RUNNING", "BadConstraints")),
        (("5", "SPECIAL_EXIT", "JobHeldUser"), State(Phase.STUCK, "SPECIAL_EXIT", "JobHeldUser")),
        (("5_17", "PENDING", "Resources, somewhere"),
         State(Phase.ALIVE, "PENDING", "Resources, somewhere")),
    ],
)  # fmt: skip
def test_squeue(row: tuple[str, ...], state: State) -> None:
    text = "\n".join([_row("1", "RUNNING"), _row(*row), _row("9_1", "PENDING", "Priority")])
    states = _parse_squeue(text)
    assert len(states) == 3
    assert states[row[0]] == state


@pytest.mark.parametrize(
    ("line", "state"),
    [
        ("5|COMPLETED|0:0", State(Phase.ENDED, "COMPLETED", "exit 0:0")),
        ("5|FAILED|3:0", State(Phase.ENDED, "FAILED", "exit 3:0")),
        ("5|CANCELLED by 1000|0:15", State(Phase.ENDED, "CANCELLED", "by 1000 exit 0:15")),
        ("5|PREEMPTED|0:0", State(Phase.ENDED, "PREEMPTED", "exit 0:0")),
        ("5|RUNNING|0:0", None),
        ("5|PENDING|0:0", None),
        ("5|REQUEUED|0:0", None),
    ],
)
def test_sacct(line: str, state: State | None) -> None:
    assert _parse_sacct(f"{line}\n7_3|TIMEOUT|0:0\n").get("5") == state


def test_no_answer_is_no_job() -> None:
    assert _parse_squeue("") == {} == _parse_sacct("")


# states


def test_accounting_comes_and_goes(slurm: FakeSlurm, cluster: Slurm) -> None:
    for job_id, state in {"1": "RUNNING", "2": "FAILED", "3_4": "TIMEOUT"}.items():
        slurm.add(job_id, state)
    wanted = ["1", "2", "3_4", "5"]

    slurm.fault("sacct", "Slurm accounting storage is disabled")
    states = cluster.states(wanted)
    assert {job: state.name for job, state in states.items()} == {
        "1": "RUNNING", "2": "FAILED", "3_4": "TIMEOUT",
    }  # fmt: skip
    slurm.fault("sacct", None)
    assert cluster.states(wanted) == states
    assert slurm.calls("sacct")[-1][-1] == "--jobs=5"
    slurm.fault("sacct", "Connection refused")
    assert cluster.states(wanted) == states


def test_what_squeue_has_forgotten_accounting_knows(
    slurm: FakeSlurm, cluster: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm.add("3_4", "TIMEOUT")
    slurm.add("3_5", "RUNNING")
    monkeypatch.setattr(cluster, "_squeue", lambda: "")
    assert cluster.states(["3_4", "3_5"]) == {"3_4": State(Phase.ENDED, "TIMEOUT", "exit 0:0")}
    (words,) = slurm.calls("sacct")
    assert words[-1] == "--jobs=3"


def test_no_query_more_for_more_jobs(slurm: FakeSlurm, cluster: Slurm) -> None:
    wanted = [f"7_{n}" for n in range(30)]
    for job_id in wanted:
        slurm.add(job_id, "RUNNING")
    assert len(cluster.states(wanted)) == 30
    assert len(slurm.calls("squeue")) == 1
    assert not slurm.calls("sacct")


def test_a_controller_that_is_away(slurm: FakeSlurm, cluster: Slurm) -> None:
    slurm.fault("squeue", "Unable to contact slurm controller (connect failure)")
    with pytest.raises(OSError, match="squeue: squeue: error: Unable to contact"):
        cluster.states(["1"])


def test_commands_that_are_missing(monkeypatch: pytest.MonkeyPatch, cluster: Slurm) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(OSError, match="squeue"):
        cluster.states(["1"])


def test_a_command_that_hangs(
    slurm: FakeSlurm, cluster: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: run(*a, **(k | {"timeout": 0.5})))
    slurm.fault("squeue-sleeps", 30)
    with pytest.raises(TimeoutError, match="squeue did not answer"):
        cluster.states(["1"])


# submission


def test_a_script(slurm: FakeSlurm, cluster: Slurm, tmp_path: Path) -> None:
    slurm.fault("hold", "Resources")
    (job_id,) = _submit(cluster, tmp_path, runtime=30, mem_mb=700, slurm_extra="--exclusive")
    (job,) = slurm.jobs()
    assert job["id"] == job_id
    wanted = {
        "comment": "rule x=0 tag7", "cpus-per-task": "2", "exclusive": "", "export": "ALL",
        "job-name": "rule", "mem": "700M", "requeue": "", "signal": "USR2@90", "time": "30",
    }  # fmt: skip
    assert wanted.items() <= job["options"].items()
    assert "array" not in job["options"]
    script = slurm.script(job_id)
    assert script.index("\nmodule load x\n") < script.index("\nsrun ")
    assert " --ntasks=1 --nodes=1 --cpus-per-task=2 --overlap " in script


def test_an_array(slurm: FakeSlurm, tmp_path: Path) -> None:
    slurm.fault("hold", "Resources")
    ids = _submit(Slurm(setup=[], parallelism=2, patience=60), tmp_path, count=3)
    (first,) = {job_id.partition("_")[0] for job_id in ids}
    assert ids == [f"{first}_{n}" for n in range(3)] == [job["id"] for job in slurm.jobs()]
    assert {job["options"]["array"] for job in slurm.jobs()} == {"0-2%2"}
    assert len(slurm.calls("sbatch")) == 1


def test_largest_array(slurm: FakeSlurm) -> None:
    slurm.fault("MaxArraySize", 17)
    assert Slurm(setup=[], parallelism=None, patience=0).largest_array == 17


def test_no_arrays_at_all(slurm: FakeSlurm) -> None:
    slurm.fault("MaxArraySize", "0")
    assert Slurm(setup=[], parallelism=None, patience=0).largest_array == 1


def test_a_controller_that_is_away_at_first(
    slurm: FakeSlurm, cluster: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Slurm(setup=[], parallelism=None, patience=20)
    clock = _Clock(monkeypatch, cluster, other)
    slurm.fault("scontrol", [2, BUSY])
    assert cluster.largest_array == 1001
    assert clock.slept == [1, 2]
    slurm.fault("scontrol", [99, BUSY])
    with pytest.raises(SubmissionError, match="Unable to contact slurm controller"):
        _ = other.largest_array


def test_commands_that_are_missing_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SubmissionError, match="scontrol"):
        _ = Slurm(setup=[], parallelism=None, patience=600).largest_array


def test_a_busy_controller_is_asked_again(
    slurm: FakeSlurm, cluster: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = _Clock(monkeypatch, cluster)
    slurm.fault("hold", "Resources")
    slurm.fault("sbatch", [3, BUSY])
    assert len(_submit(cluster, tmp_path, count=2)) == 2
    assert clock.slept == [1, 2, 4]
    assert len(slurm.calls("sbatch")) == 4
    assert len(slurm.jobs()) == 2


def test_patience_ends(slurm: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Slurm(setup=[], parallelism=None, patience=20)
    clock = _Clock(monkeypatch, cluster)
    slurm.fault("sbatch", [99, BUSY])
    with pytest.raises(SubmissionError, match="Unable to contact slurm controller"):
        _submit(cluster, tmp_path)
    assert clock.slept == [1, 2, 4, 8]
    assert len(slurm.calls("sbatch")) == 5
    assert not slurm.jobs()


@pytest.mark.parametrize(
    "message",
    [
        "Batch job submission failed: Invalid partition name specified",
        "Batch job submission failed: Requested node configuration is not available",
        "Batch job submission failed: Invalid account or account/partition combination specified",
        "Batch job submission failed: Job violates accounting/QOS policy"
        " (job submit limit, user's size and/or time limits)",
    ],
)
def test_a_refusal_is_final(slurm: FakeSlurm, cluster: Slurm, tmp_path: Path, message: str) -> None:
    slurm.fault("sbatch", [1, message])
    with pytest.raises(SubmissionError, match=f"^sbatch: error: {re.escape(message)}$"):
        _submit(cluster, tmp_path)
    assert len(slurm.calls("sbatch")) == 1


@pytest.mark.parametrize(
    "message",
    [
        "Unable to contact slurm controller (connect failure)",
        "Socket timed out on send/recv operation",
        "Resource temporarily unavailable",
        "Zero Bytes were transmitted or received",
    ],
)
def test_what_passes(message: str) -> None:
    assert TRANSIENT.search(message)


def test_the_controllers_own_allocation_is_hidden(
    slurm: FakeSlurm, cluster: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "100")
    monkeypatch.setenv("SLURM_CONF", "conf")
    monkeypatch.setenv("SLURM_JWT", "token")
    for name in ("TIMELIMIT", "PARTITION", "ACCOUNT"):
        monkeypatch.setenv(f"SBATCH_{name}", "theirs")
    slurm.fault("hold", "Resources")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    cluster.submit(tmp_path / "a", request(1, {}), "rule", "tag", [_command(tmp_path)])
    asks = request(1, {"slurm_partition": "a"})
    cluster.submit(tmp_path / "b", asks, "rule", "tag", [_command(tmp_path)])
    first, second = (set(names) for names in slurm.environments("sbatch"))
    assert first == {"SBATCH_PARTITION", "SBATCH_ACCOUNT", "SLURM_CONF", "SLURM_JWT"}
    assert second == first - {"SBATCH_PARTITION"}
    assert os.environ["SLURM_MEM_PER_NODE"] == "100"


@pytest.mark.fault(
    "variables of the user's shell that change Slurm's answers",
    area="cluster",
    provoked="SQUEUE_PARTITION, SLURM_CLUSTERS, SLURM_TIME_FORMAT and their like",
)
@pytest.mark.parametrize("name", ["squeue", "sacct", "scancel", "scontrol"])
def test_no_command_takes_the_users_defaults(
    slurm: FakeSlurm,
    monkeypatch: pytest.MonkeyPatch,
    observed: Callable[[str], None],
    name: str,
) -> None:
    """With SQUEUE_PARTITION of another partition running jobs were reported as lost."""
    theirs = [f"{name.upper()}_{what}" for what in ("PARTITION", "ACCOUNT", "FORMAT", "STATE")]
    theirs += ["SLURM_CLUSTERS", "SLURM_TIME_FORMAT", "SLURM_BITSTR_LEN", "SLURMD_NODENAME"]
    for variable in theirs:
        monkeypatch.setenv(variable, "theirs")
    ours = {"SLURM_CONF", "SLURM_JWT", "SLURM_SACK_KEY"}
    for variable in ours:
        monkeypatch.setenv(variable, "ours")
    words = {"squeue": ["--format=%F %k"], "sacct": ["--format=JobID,State,ExitCode", "--jobs=1"]}
    command(name, *words.get(name, ["show", "config"]))
    assert [set(names) for names in slurm.environments(name)] == [ours]
    observed("Slurm's commands see only those that say which cluster it is; no job is called lost")


# cancelling


def test_cancel(slurm: FakeSlurm, cluster: Slurm) -> None:
    for job_id in ("1", "2_0", "2_1"):
        slurm.add(job_id, "PENDING")
    cluster.cancel(["1", "2_1"])
    states = {job["id"]: slurm.state_of(job["id"]) for job in slurm.jobs()}
    assert states == {"1": "CANCELLED", "2_0": "PENDING", "2_1": "CANCELLED"}
    cluster.cancel([])
    assert len(slurm.calls("scancel")) == 1


def test_hundreds_are_cancelled_by_few_calls(slurm: FakeSlurm, cluster: Slurm) -> None:
    cluster.cancel([f"{n}" for n in range(1200)])
    words = [word for call in slurm.calls("scancel") for word in call if word != "--quiet"]
    assert len(words) == len(set(words)) == 1200
    assert len(slurm.calls("scancel")) == 3


def test_cancel_by_tag(slurm: FakeSlurm, cluster: Slurm, tmp_path: Path) -> None:
    slurm.fault("hold", "Resources")
    ids = _submit(cluster, tmp_path, count=2)
    (tmp_path / "other").mkdir()
    (other,) = cluster.submit(
        tmp_path / "other", request(1, {}), "rule", "tag8", [_command(tmp_path)]
    )
    cluster.cancel_tagged("tag7")
    assert [slurm.state_of(job_id) for job_id in ids] == ["CANCELLED"] * 2
    assert slurm.state_of(other) == "PENDING"
    calls = len(slurm.calls("scancel"))
    cluster.cancel_tagged("unknown")
    assert len(slurm.calls("scancel")) == calls


def test_command(slurm: FakeSlurm) -> None:
    assert "MaxArraySize" in command("scontrol", "show", "config")
    slurm.fault("sacct", "no")
    with pytest.raises(OSError, match=r"^sacct: sacct: error: no$"):
        command("sacct", "--x")
